/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The compression methods, each a loop around its library. All of them write through struct sink,
 * which enforces the limit.
 */
#include "rpc/decompress.h"

#include <brotli/decode.h>
#include <bzlib.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "rpc/limits.h"
#include "rpc/rpc.h"

#define CHUNK_BYTES ((size_t)64 * 1024)
/* zlib detects whether the stream has a zlib or a gzip header. */
#define ZLIB_ANY_HEADER (MAX_WBITS + 32)
/* A window of 16 MiB, which is RPC_MAX_BODY_BYTES. */
#define ZSTD_WINDOW_LOG_MAX 24
/* Enough for preset 7; kombu uses 6, which needs 9 MiB. */
#define LZMA_MEMORY_MAX_BYTES ((uint64_t)32 * 1024 * 1024)

#define TRUNCATED "the compressed data is truncated"
#define MALFORMED "the compressed data is malformed"

struct sink {
	GByteArray *bytes;
	size_t room; /* bytes that may still be added */
	uint8_t chunk[CHUNK_BYTES];
};

/* Adds the first `count` bytes of the chunk. Returns -1 if they exceed the limit. */
static int sink_add(struct sink *sink, size_t count)
{
	size_t added = MIN(count, sink->room);

	g_byte_array_append(sink->bytes, sink->chunk, (guint)added);
	sink->room -= added;
	return added == count ? 0 : -1;
}

/* Each returns NULL, or what is wrong; "" if the limit is exceeded. */

static const char *inflate_body(const uint8_t *data, size_t length, struct sink *sink)
{
	z_stream stream = {.next_in = (Bytef *)data, .avail_in = (uInt)length};
	const char *problem = NULL;
	int rc;

	if (inflateInit2(&stream, ZLIB_ANY_HEADER) != Z_OK)
		return "zlib cannot be initialized";
	do {
		stream.next_out = sink->chunk;
		stream.avail_out = CHUNK_BYTES;
		rc = inflate(&stream, Z_NO_FLUSH);
		if (sink_add(sink, CHUNK_BYTES - stream.avail_out) < 0)
			problem = "";
		else if (rc == Z_BUF_ERROR ||
			 (rc == Z_OK && stream.avail_in == 0 && stream.avail_out > 0))
			problem = TRUNCATED;
		else if (rc != Z_OK && rc != Z_STREAM_END)
			problem = MALFORMED;
	} while (!problem && rc != Z_STREAM_END);
	(void)inflateEnd(&stream);
	return problem;
}

static const char *bunzip_body(const uint8_t *data, size_t length, struct sink *sink)
{
	bz_stream stream = {.next_in = (char *)data, .avail_in = (unsigned)length};
	const char *problem = NULL;
	int rc;

	if (BZ2_bzDecompressInit(&stream, 0, 0) != BZ_OK)
		return "libbz2 cannot be initialized";
	do {
		stream.next_out = (char *)sink->chunk;
		stream.avail_out = CHUNK_BYTES;
		rc = BZ2_bzDecompress(&stream);
		if (sink_add(sink, CHUNK_BYTES - stream.avail_out) < 0)
			problem = "";
		else if (rc == BZ_OK && stream.avail_in == 0 && stream.avail_out > 0)
			problem = TRUNCATED;
		else if (rc != BZ_OK && rc != BZ_STREAM_END)
			problem = MALFORMED;
	} while (!problem && rc != BZ_STREAM_END);
	(void)BZ2_bzDecompressEnd(&stream);
	return problem;
}

static const char *unxz_body(const uint8_t *data, size_t length, struct sink *sink)
{
	lzma_stream stream = LZMA_STREAM_INIT;
	const char *problem = NULL;
	lzma_ret rc;

	/* The formats .xz and .lzma, as Python's lzma.decompress. */
	if (lzma_auto_decoder(&stream, LZMA_MEMORY_MAX_BYTES, 0) != LZMA_OK)
		return "liblzma cannot be initialized";
	stream.next_in = data;
	stream.avail_in = length;
	do {
		stream.next_out = sink->chunk;
		stream.avail_out = CHUNK_BYTES;
		rc = lzma_code(&stream, LZMA_FINISH);
		if (sink_add(sink, CHUNK_BYTES - stream.avail_out) < 0)
			problem = "";
		else if (rc == LZMA_BUF_ERROR)
			problem = TRUNCATED;
		else if (rc == LZMA_MEMLIMIT_ERROR)
			problem = "its decompression needs more than 32 MiB of memory";
		else if (rc != LZMA_OK && rc != LZMA_STREAM_END)
			problem = MALFORMED;
	} while (!problem && rc != LZMA_STREAM_END);
	lzma_end(&stream);
	return problem;
}

static const char *unzstd_body(const uint8_t *data, size_t length, struct sink *sink)
{
	ZSTD_DCtx *context = ZSTD_createDCtx();
	ZSTD_inBuffer input = {.src = data, .size = length};
	const char *problem = NULL;
	size_t rc;

	if (!context || ZSTD_isError(ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax,
							    ZSTD_WINDOW_LOG_MAX))) {
		ZSTD_freeDCtx(context);
		return "libzstd cannot be initialized";
	}
	do {
		ZSTD_outBuffer output = {.dst = sink->chunk, .size = CHUNK_BYTES};

		rc = ZSTD_decompressStream(context, &output, &input);
		if (ZSTD_isError(rc))
			problem = MALFORMED;
		else if (sink_add(sink, output.pos) < 0)
			problem = "";
		else if (rc != 0 && input.pos == input.size && output.pos < output.size)
			problem = TRUNCATED;
	} while (!problem && rc != 0);
	ZSTD_freeDCtx(context);
	return problem;
}

static const char *unbrotli_body(const uint8_t *data, size_t length, struct sink *sink)
{
	BrotliDecoderState *state = BrotliDecoderCreateInstance(NULL, NULL, NULL);
	const char *problem = NULL;
	BrotliDecoderResult rc;

	if (!state)
		return "libbrotlidec cannot be initialized";
	do {
		uint8_t *next = sink->chunk;
		size_t room = CHUNK_BYTES;

		rc = BrotliDecoderDecompressStream(state, &length, &data, &room, &next, NULL);
		if (sink_add(sink, CHUNK_BYTES - room) < 0)
			problem = "";
		else if (rc == BROTLI_DECODER_RESULT_NEEDS_MORE_INPUT)
			problem = TRUNCATED;
		else if (rc == BROTLI_DECODER_RESULT_ERROR)
			problem = MALFORMED;
	} while (!problem && rc != BROTLI_DECODER_RESULT_SUCCESS);
	BrotliDecoderDestroyInstance(state);
	return problem;
}

static const struct compression {
	const char *names[5]; /* kombu's content type, and its aliases */
	const char *(*decompress)(const uint8_t *data, size_t length, struct sink *sink);
} compressions[] = {
	{{"application/x-gzip", "gzip", "zlib"}, inflate_body},
	{{"application/x-bz2", "bzip2", "bzip", "bz2"}, bunzip_body},
	{{"application/x-lzma", "lzma", "xz"}, unxz_body},
	{{"application/zstd", "zstd", "zstandard"}, unzstd_body},
	{{"application/x-brotli", "brotli"}, unbrotli_body},
};

static const struct compression *find_compression(const char *method)
{
	for (size_t i = 0; i < G_N_ELEMENTS(compressions); i++) {
		if (g_strv_contains(compressions[i].names, method))
			return &compressions[i];
	}
	return NULL;
}

bool decompress_is_supported(const char *method)
{
	return find_compression(method) != NULL;
}

int decompress_body(const char *method, const void *data, size_t length, size_t limit,
		    GByteArray *output, GError **error)
{
	const struct compression *compression = find_compression(method);
	g_autofree struct sink *sink = NULL;
	const char *problem;

	if (!compression) {
		g_set_error(error, RPC_ERROR, RPC_ERROR_ENCODING,
			    "the compression %s is not supported", method);
		return -1;
	}
	g_assert(length <= RPC_MAX_BODY_BYTES);
	sink = g_new(struct sink, 1);
	sink->bytes = output;
	sink->room = limit;
	problem = compression->decompress(data, length, sink);
	if (!problem)
		return 0;
	if (*problem)
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE, "%s (%s)", problem, method);
	else
		g_set_error(error, RPC_ERROR, RPC_ERROR_DECODE,
			    "decompressed (%s), it is over the limit of %zu bytes", method, limit);
	return -1;
}
