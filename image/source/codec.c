/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compresses single clusters with zlib or zstd.
 */
#include "image/source/codec.h"

#include <zlib.h>
#include <zstd.h>

#include "image/source/cluster-map.h"

#define WINDOW_BITS (-12) /* as in QEMU's block/qcow2-threads.c; negative: no zlib header */
#define MEMORY_LEVEL 9	  /* the highest: uses the most memory and is fastest */
/* The largest compressed size without a special meaning. */
#define CAPACITY (CODEC_SIZE_UNCOMPRESSED - 1)

struct codec {
	bool deflate_ready; /* `stream` is initialized */
	z_stream stream;
	ZSTD_CCtx *zstd; /* NULL: use `stream` */
};

static int set_level_error(const struct image_compression *how, GError **error)
{
	g_set_error(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
		    "%s has no compression level %d: levels are 1 to %d",
		    how->zstd ? "zstd" : "zlib", how->level,
		    how->zstd ? ZSTD_maxCLevel() : Z_BEST_COMPRESSION);
	return -1;
}

static int open_zstd(struct codec *codec, const struct image_compression *how, GError **error)
{
	int level = how->level == 0 ? ZSTD_CLEVEL_DEFAULT : how->level;

	if (level < 1 || level > ZSTD_maxCLevel())
		return set_level_error(how, error);
	codec->zstd = ZSTD_createCCtx();
	if (codec->zstd &&
	    !ZSTD_isError(ZSTD_CCtx_setParameter(codec->zstd, ZSTD_c_compressionLevel, level)))
		return 0;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
			    "initializing zstd failed");
	return -1;
}

static int open_zlib(struct codec *codec, const struct image_compression *how, GError **error)
{
	int level = how->level == 0 ? Z_DEFAULT_COMPRESSION : how->level;

	if (how->level < 0 || how->level > Z_BEST_COMPRESSION)
		return set_level_error(how, error);
	codec->deflate_ready = deflateInit2(&codec->stream, level, Z_DEFLATED, WINDOW_BITS,
					    MEMORY_LEVEL, Z_DEFAULT_STRATEGY) == Z_OK;
	if (codec->deflate_ready)
		return 0;
	g_set_error_literal(error, IMAGE_SOURCE_ERROR, IMAGE_SOURCE_ERROR_FAILED,
			    "initializing zlib failed");
	return -1;
}

struct codec *codec_new(const struct image_compression *how, GError **error)
{
	struct codec *codec = g_new0(struct codec, 1);
	int rc = how->zstd ? open_zstd(codec, how, error) : open_zlib(codec, how, error);

	if (rc == 0)
		return codec;
	codec_free(codec);
	return NULL;
}

void codec_free(struct codec *codec)
{
	if (!codec)
		return;
	if (codec->deflate_ready)
		(void)deflateEnd(&codec->stream);
	ZSTD_freeCCtx(codec->zstd);
	g_free(codec);
}

static uint16_t deflate_cluster(struct codec *codec, const unsigned char *from, unsigned char *to)
{
	z_stream *stream = &codec->stream;

	(void)deflateReset(stream);
	stream->next_in = (unsigned char *)from;
	stream->avail_in = CLUSTER_SIZE;
	stream->next_out = to;
	stream->avail_out = CAPACITY;
	if (deflate(stream, Z_FINISH) != Z_STREAM_END)
		return CODEC_SIZE_UNCOMPRESSED;
	return (uint16_t)(CAPACITY - stream->avail_out);
}

uint16_t codec_compress(struct codec *codec, const unsigned char *from, unsigned char *to)
{
	size_t size;

	if (!codec->zstd)
		return deflate_cluster(codec, from, to);
	size = ZSTD_compress2(codec->zstd, to, CAPACITY, from, CLUSTER_SIZE);
	return ZSTD_isError(size) ? CODEC_SIZE_UNCOMPRESSED : (uint16_t)size;
}
