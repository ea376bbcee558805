package events

import "strings"

// Other is the type of a line that is in no table.
const Other = "log"

// Denied and Failed are the types of events that no log line stands for: clients that were denied,
// and clients that were not served, counted over some seconds.
const (
	Denied = "clients_denied"
	Failed = "clients_failed"
)

// types are the types of the messages in the log. A test holds them against the source code.
var types = map[string]string{
	// Backends and pools.
	"backend down":                   "backend_down",
	"backend up":                     "backend_up",
	"backend unreachable":            "backend_unreachable",
	"backend reachable again":        "backend_reachable",
	"backend ejected":                "backend_ejected",
	"backend ejection ended":         "backend_ejection_ended",
	"backend drained":                "backend_drained",
	"backend set down":               "backend_set_down",
	"backend in service again":       "backend_in_service",
	"backend weight changed":         "backend_weight",
	"killing connections":            "kill",
	"connections killed":             "kill",
	"trace started":                  "trace",
	"trace ended":                    "trace",
	"traces stopped":                 "trace",
	"log level set":                  "log_level",
	"log level reset":                "log_level",
	"kill ended early":               "kill",
	"metrics are missing":            "metrics_failed",
	"closing connections of backend": "backend_closing",
	"backends changed":               "backends_changed",
	"pool down: no usable backend":   "pool_down",
	"pool up again":                  "pool_up",
	"pool not updated":               "pool_failed",
	"panic mode on: too few usable backends, ignoring health": "panic_on",
	"panic mode off": "panic_off",
	"backend events dropped: too many at once":                                               "events_dropped",
	"health checks paused: the proxy is out of descriptors or ports":                         "health_paused",
	"health checks resumed":                                                                  "health_resumed",
	"removal of backends held back: too many at once":                                        "removal_held_back",
	"removing the backends that were held back":                                              "removal_done",
	"removal of backends no longer held back: they are in use again":                         "removal_over",
	"backend addresses ignored: the proxy listens there itself, and would connect to itself": "address_ignored",

	// Names.
	"cannot resolve the name, keeping its last addresses": "name_failing",
	"name resolves again":                        "name_resolved",
	"name has too many addresses, ignoring some": "name_too_large",

	// Listeners and limits.
	"listening":           "listener_open",
	"no longer listening": "listener_removed",
	"listener closed: no backend of its pool can serve": "listener_closed",
	"listener reopened: its pool can serve again":       "listener_reopened",
	"listener drained":                                                                    "listener_drained",
	"listener in service again":                                                           "listener_in_service",
	"cannot reopen listener, retrying":                                                    "listener_failed",
	"log.denied reached: further denied clients are only counted":                         "limit_reached",
	"max_connections reached: new clients wait":                                           "limit_reached",
	"listener at max_connections: new clients wait":                                       "limit_reached",
	"accepting paused: out of file descriptors or memory":                                 "out_of_resources",
	"dialing paused: out of file descriptors or memory":                                   "out_of_resources",
	"per_client.rate not applied: too many clients have just connected":                   "limit_reached",
	"max_connections reached, the rest is reserved for other listeners: new clients wait": "limit_reached",

	// Bans.
	"address banned":   "ban",
	"addresses banned": "ban",
	"ban removed":      "unban",
	"bans removed":     "unban",
	"ban ended":        "ban_ended",
	"bans ended":       "ban_ended",
	"bans loaded":      "bans_loaded",
	"bans saved again": "bans_saved",
	"bans file damaged: what could be read is in force":               "bans_failed",
	"bans not loaded, and changes will not be saved":                  "bans_failed",
	"bans not saved: they stay in force, and are lost with a restart": "bans_failed",

	// The configuration.
	"reloaded": "reloaded",
	"reload refused: the running configuration stays in effect":  "reload_failed",
	"reload canceled: the running configuration stays in effect": "reload_failed",
	"reload refused": "reload_failed",
	"takes effect with a restart or an upgrade":                                          "reload_incomplete",
	"configuration kept":                                                                 "reload_kept",
	"configuration kept: the guard found nothing worse":                                  "reload_kept",
	"configuration rolled back: the file still has the change":                           "reload_rolled_back",
	"rollback failed: the unconfirmed configuration stays in effect":                     "rollback_failed",
	"stopping with an unconfirmed configuration: the next start reads the file as it is": "reload_unconfirmed",
	"file notifications failed, checking all watched files":                              "watch_failed",
	"cannot watch files, checking them regularly":                                        "watch_failed",

	// Upgrades.
	"upgrade: starting the new process":          "upgrade_started",
	"upgrade refused":                            "upgrade_failed",
	"upgrade failed: this process keeps serving": "upgrade_failed",
	"upgraded: the new process serves":           "upgraded",
	"upgraded":                                   "upgraded",
	"upgraded, but the old process has not handed over everything":                 "upgrade_incomplete",
	"upgrade: connections stay with the old process":                               "upgrade_incomplete",
	"the new process has not acknowledged the final state":                         "upgrade_incomplete",
	"upgrade: state of the old process ignored":                                    "upgrade_incomplete",
	"upgrade: socket of the old process not used":                                  "upgrade_incomplete",
	"upgrade: process 1 will not know the next process":                            "upgrade_incomplete",
	"upgrade: process 1 does not know the next process":                            "upgrade_incomplete",
	"connections from the old process closed":                                      "upgrade_incomplete",
	"connections taken over whose listener or backend is not in the configuration": "upgrade_incomplete",
	"signal passed on to the new process":                                          "signal_passed_on",
	"signal not passed on":                                                         "signal_passed_on",
	"stopped after the upgrade":                                                    "stopped",

	// The process.
	"l4proxy started": "started",
	"confined":        "confined",
	"io_uring unavailable, falling back to epoll":                   "engine_fallback",
	"shutting down: waiting for connections to end":                 "drain_started",
	"already shutting down: the next signal closes all connections": "drain_started",
	"second signal: closing all connections now":                    "drain_cut_short",
	"connections were still open at the end of the drain":           "drain_timeout",
	"stopped": "stopped",
	"l4proxy crashed: this is a bug, please report it": "crashed",
	"l4proxy failed": "crashed",
	"an event loop does not respond: systemd restarts l4proxy if this lasts": "loop_hangs",
	"systemd not notified": "systemd_failed",
	"socket of the file descriptor store closed: its listener no longer binds there": "systemd_socket_closed",
	"pid file not written":                      "pid_file_failed",
	"log lines dropped: the log cannot keep up": "log_dropped",

	// The admin address.
	"admin address open":                     "admin_open",
	"admin address closed":                   "admin_closed",
	"admin address failed":                   "admin_failed",
	"admin address: cannot accept, retrying": "admin_failed",
	"admin command":                          "command",
	"admin command failed":                   "command_failed",
	"admin request refused":                  "request_refused",
	"admin request panicked: this is a bug, please report it": "admin_failed",
}

// prefixes are the types of messages that continue with something else.
var prefixes = map[string]string{
	"configuration: ": "config_warning",
}

// TypeOf is the type of a message: a stable word, while the message may change.
func TypeOf(message string) string {
	if kind, ok := types[message]; ok {
		return kind
	}
	for prefix, kind := range prefixes {
		if strings.HasPrefix(message, prefix) {
			return kind
		}
	}
	return Other
}

// Types are the types of all messages that have one, by message.
func Types() map[string]string {
	all := make(map[string]string, len(types)+len(prefixes))
	for message, kind := range types {
		all[message] = kind
	}
	for prefix, kind := range prefixes {
		all[prefix] = kind
	}
	return all
}
