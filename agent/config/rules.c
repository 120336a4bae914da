/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rules that involve several keys.
 */
#include "agent/config/rules.h"

#include <string.h>
#include <unistd.h>

#define MIB ((uint64_t)1024 * 1024)
#define DEFAULT_LOG_FILE "novasnapd.log"
#define DEFAULT_PREFETCH 100
#define QUEUE_MANAGER_PROCESS "novasnapd"
/* nova.compute.rpcapi.RPC_TOPIC_ALT. */
#define ALT_TOPIC "compute-alt"
/* AMQP allows 255 bytes for "<topic>_fanout_<name>:<number>". */
#define QUEUE_NAME_MAX 235
#define REJECTED_BYTES_MAX (64 * MIB)
/* Metrics are served without TLS and without a login. */
#define OCTET "(25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})"
#define PORT                                                                                       \
	"([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5])"
#define LOOPBACK "^(127(\\." OCTET "){3}|\\[::1\\]):" PORT "$"

static char *own_string(struct config_inputs *inputs, char *text)
{
	g_ptr_array_add(inputs->memory, text);
	return text;
}

static int set_rule_error(const struct config_inputs *inputs, const char *section, const char *name,
			  const char *problem, GError **error)
{
	const struct config_source source = {config_table, config_table_size, inputs->ini};
	const struct config_key *key = config_key_find(&source, section, name);

	return config_key_set_error(key, config_key_setting(key, inputs->ini), problem, error);
}

/* All other methods are nova-compute's alone: they do more than novasnapd can. */
static int check_beside_methods(const struct config_inputs *inputs, GError **error)
{
	static const char *const allowed[] = {"snapshot_instance",
					      "backup_instance",
					      "quiesce_instance",
					      "unquiesce_instance",
					      "volume_snapshot_create",
					      "volume_snapshot_delete",
					      NULL};
	g_autofree char *all = g_strjoinv(", ", (char **)allowed);
	g_autofree char *problem = NULL;

	for (const char *const *method = inputs->config.beside_methods; *method; method++) {
		if (g_strv_contains(allowed, *method))
			continue;
		problem = g_strdup_printf("has \"%s\", must have only: %s", *method, all);
		return set_rule_error(inputs, CONFIG_OWN_SECTION, "beside_methods", problem, error);
	}
	return 0;
}

static int check_keys(const struct config_inputs *inputs, GError **error)
{
	const struct config *config = &inputs->config;

	if (config->image.directory && !config->image.images_dir)
		return set_rule_error(inputs, CONFIG_OWN_SECTION, "images_dir",
				      "must be set if images = directory", error);
	if (config->rpc.queue_manager_name &&
	    strlen(config->rpc.queue_manager_name) +
			    MAX(strlen(config->rpc.topic), strlen(ALT_TOPIC)) >
		    QUEUE_NAME_MAX)
		return set_rule_error(inputs, "oslo_messaging_rabbit", "hostname",
				      "is too long for a queue's name, with processname and "
				      "[DEFAULT]host",
				      error);
	if (config->metrics_listen && !g_regex_match_simple(LOOPBACK, config->metrics_listen, 0, 0))
		return set_rule_error(inputs, CONFIG_OWN_SECTION, "metrics_listen",
				      "must be an address of the loopback and a port, such as "
				      "127.0.0.1:9178",
				      error);
	if (config->metrics_file && !g_str_has_suffix(config->metrics_file, ".prom"))
		return set_rule_error(inputs, CONFIG_OWN_SECTION, "metrics_file",
				      "must end in .prom, which node_exporter's textfile "
				      "collector reads",
				      error);
	if (config->beside && config->report_state)
		return set_rule_error(
			inputs, CONFIG_OWN_SECTION, "report_state",
			"is for mode = exclusive: beside it, nova-compute keeps its own "
			"record, which novasnapd would disable",
			error);
	if (config->report_state && !config->control)
		return set_rule_error(
			inputs, CONFIG_OWN_SECTION, "report_state",
			"requires control = conductor: the conductor stores the record", error);
	if (config->report_progress && !config->control)
		return set_rule_error(
			inputs, CONFIG_OWN_SECTION, "report_progress",
			"requires control = conductor: the conductor stores the progress", error);
	return check_beside_methods(inputs, error);
}

/* oslo_log.log._get_log_file_path. The name of the program there is that of the script, such as
 * nova-compute. */
static void apply_log_rules(struct config_inputs *inputs)
{
	struct config *config = &inputs->config;
	const char *file = config->log_file && *config->log_file ? config->log_file : NULL;
	const char *dir = inputs->log_dir && *inputs->log_dir ? inputs->log_dir : NULL;

	if (dir && !(file && g_path_is_absolute(file)))
		file = own_string(inputs,
				  g_build_filename(dir, file ? file : DEFAULT_LOG_FILE, NULL));
	config->log_file = file;
}

/* As impl_rabbit.rabbit_opts. The process has another name than any nova-compute of the host, also
 * where nova.conf sets processname, and than a novasnapd that serves another [DEFAULT]host here:
 * two processes with one name would take each other's replies. */
static char *queue_manager_name(const struct config_inputs *inputs, const char *system_name)
{
	const char *host = inputs->queue_manager_host ? inputs->queue_manager_host : system_name;
	const char *process = inputs->queue_manager_process;
	const char *served = inputs->config.rpc.host;
	bool is_same = g_str_equal(served, host);

	return g_strdup_printf("%s:%s%s%s%s%s", host, process ? process : "", process ? "-" : "",
			       QUEUE_MANAGER_PROCESS, is_same ? "" : "-", is_same ? "" : served);
}

/* nova-compute may already have the exchange of its own, "nova.<host>", in the same nova.conf
 * (`novasnap beside`). All other services, and novasnapd, use the one without the host. */
static const char *cloud_exchange(struct config_inputs *inputs, const char *exchange)
{
	g_autofree char *suffix = g_strdup_printf(".%s", inputs->config.rpc.host);
	size_t length = strlen(exchange), cut = strlen(suffix);

	if (length <= cut || !g_str_has_suffix(exchange, suffix))
		return exchange;
	return own_string(inputs, g_strndup(exchange, length - cut));
}

static void apply_rpc_rules(struct config_inputs *inputs)
{
	struct rpc_config *rpc = &inputs->config.rpc;
	char name[256] = "";

	(void)gethostname(name, sizeof(name) - 1);
	/* This is nova's default, too. */
	if (!rpc->host)
		rpc->host = own_string(inputs, g_strdup(name));
	if (cloud_exchange(inputs, rpc->control_exchange) != rpc->control_exchange) {
		inputs->config.nova_has_exchange = true;
		rpc->control_exchange = cloud_exchange(inputs, rpc->control_exchange);
		inputs->notifications.control_exchange = rpc->control_exchange;
	}
	if (inputs->use_queue_manager)
		rpc->queue_manager_name = own_string(inputs, queue_manager_name(inputs, name));
	rpc->alt_topic = ALT_TOPIC;
	/* A quorum queue is always durable. */
	rpc->durable = rpc->durable || rpc->quorum;
	inputs->notifications.durable =
		inputs->notifications.durable || inputs->notifications.quorum;
	/* In oslo.messaging, which acks immediately, 0 means no limit. Here a message is journaled
	 * before it is acked, so the number of waiting messages needs a limit. */
	if (rpc->prefetch == 0)
		rpc->prefetch = DEFAULT_PREFETCH;
	rpc->rejected_dir =
		own_string(inputs, g_build_filename(inputs->config.state_dir, "rejected", NULL));
	rpc->rejected_max_bytes = REJECTED_BYTES_MAX;
}

static bool is_set(const struct config_inputs *inputs, const char *section, const char *name)
{
	const struct config_source source = {config_table, config_table_size, inputs->ini};

	const struct config_key *key = config_key_find(&source, section, name);
	const struct ini_setting *setting = config_key_setting(key, inputs->ini);

	return setting && !config_key_is_unset(key, setting->text);
}

/* In the place of nova-compute: nova takes a host without a living service record for dead, and
 * what is for nova-compute waits for its return. */
static void apply_exclusive_rules(struct config_inputs *inputs)
{
	struct config *config = &inputs->config;

	if (config->beside)
		return;
	if (!is_set(inputs, CONFIG_OWN_SECTION, "report_state"))
		config->report_state = config->control;
	config->rpc.unhandled_queue =
		own_string(inputs, g_strdup_printf("novasnap.unhandled.%s", config->rpc.host));
}

static void apply_notification_rules(struct config_inputs *inputs)
{
	struct nova_notify_config *notify = &inputs->config.notify;
	notify->host = inputs->config.rpc.host;
	notify->legacy = !g_str_equal(inputs->notification_format, "versioned");
	notify->versioned = !g_str_equal(inputs->notification_format, "unversioned");
}

/* nova.virt.libvirt.driver.LibvirtDriver._uri */
static const char *connection_uri(const char *virt_type)
{
	if (g_str_equal(virt_type, "lxc"))
		return "lxc:///";
	if (g_str_equal(virt_type, "parallels"))
		return "parallels:///system";
	return "qemu:///system";
}

/* The format of a container's disk, which is not in the domain's XML
 * (nova.virt.libvirt.imagebackend.Backend chooses the class that creates the disk). */
static const char *container_format(const struct config_inputs *inputs)
{
	if (g_str_equal(inputs->images_type, "default"))
		return inputs->use_cow_images ? "qcow2" : "raw";
	return g_str_equal(inputs->images_type, "qcow2") ? "qcow2" : "raw";
}

/* The program is in the same folder as novasnapd. */
static char *find_program(const char *name)
{
	g_autofree char *self = g_file_read_link("/proc/self/exe", NULL);
	g_autofree char *folder = self ? g_path_get_dirname(self) : NULL;

	return folder ? g_build_filename(folder, name, NULL) : g_strdup(name);
}

static char *default_scratch_dir(const struct virt_config *virt)
{
	g_autofree char *parent = g_path_get_dirname(virt->snapshots_directory);

	return g_build_filename(parent, "novasnap-scratch", NULL);
}

static void apply_virt_rules(struct config_inputs *inputs)
{
	struct virt_config *virt = &inputs->config.virt;

	if (!virt->connection_uri)
		virt->connection_uri = connection_uri(inputs->virt_type);
	virt->container_format = container_format(inputs);
	virt->run_dir = inputs->config.run_dir;
	if (!virt->thaw_program)
		virt->thaw_program = own_string(inputs, find_program("novasnap-thaw"));
	if (!virt->rbd_program)
		virt->rbd_program = own_string(inputs, find_program("novasnap-rbd"));
	inputs->config.images_in_rbd = g_str_equal(inputs->images_type, "rbd");
	/* Large guests need much room there. The folder of the guests' disks has it, and the root
	 * filesystem seldom has. */
	if (!virt->scratch_dir)
		virt->scratch_dir = own_string(inputs, default_scratch_dir(virt));
	/* As nova does: a block copy would write an encrypted disk in plain text. */
	virt->disable_livesnapshot =
		virt->disable_livesnapshot || inputs->config.ephemeral_encryption;
}

int config_rules_apply(struct config_inputs *inputs, GError **error)
{
	apply_log_rules(inputs);
	apply_rpc_rules(inputs);
	apply_exclusive_rules(inputs);
	apply_notification_rules(inputs);
	apply_virt_rules(inputs);
	return check_keys(inputs, error);
}
