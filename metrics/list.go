package metrics

import dto "github.com/prometheus/client_model/go"

// A desc is a metric of the proxy: its name, its type, its labels and what it means. The help text
// is a row of docs/metrics.md too.
type desc struct {
	name   string
	kind   dto.MetricType
	labels []string // in the order of their names
	help   string
}

const (
	counter = dto.MetricType_COUNTER
	gauge   = dto.MetricType_GAUGE
	buckets = dto.MetricType_HISTOGRAM
)

// Labels. Their values are names of the configuration or words of a closed list, never a client's
// address.
var (
	perListener = []string{"listener"}
	perPool     = []string{"pool"}
	perBackend  = []string{"backend", "pool"}
	perLoop     = []string{"loop"}
)

// The metrics. Those of the Go runtime and of the process (go_..., process_...) are not among them.
var (
	connectionsTotal    = desc{"l4proxy_connections_total", counter, perListener, "Clients accepted."}
	connectionsActive   = desc{"l4proxy_connections_active", gauge, perListener, "Connections open now. Clients that are being turned away hold no slot and do not count."}
	connectionsClosed   = desc{"l4proxy_connections_closed_total", counter, []string{"listener", "reason", "side"}, "Connections and clients that have ended, by the side that ended them first and the reason, as in the log."}
	connectionsDenied   = desc{"l4proxy_connections_denied_total", counter, []string{"listener", "rule"}, "Clients that the access control list, a ban or a limit of each client (per_client) denied, by the rule that decided. Banned clients have the rule ban."}
	ruleHits            = desc{"l4proxy_rule_hits_total", counter, []string{"kind", "listener", "rule"}, "Clients by the rule of the access control list that decided: allow or deny. With kind shadow, clients that a shadow rule matched."}
	ruleLastHit         = desc{"l4proxy_rule_last_hit_timestamp_seconds", gauge, []string{"kind", "listener", "rule"}, "Unix time of the latest client of the rule. Absent before the first."}
	listenerTarpit      = desc{"l4proxy_listener_tarpitted", gauge, perListener, "Denied clients that are held in the tarpit of the listener now."}
	connectionsDuration = desc{"l4proxy_connection_duration_seconds", buckets, perListener, "Time from accept to close."}
	bytesTotal          = desc{"l4proxy_bytes_total", counter, []string{"direction", "listener"}, "Bytes passed on: in is client to backend, out is backend to client. Grows while connections are open."}
	bandwidthWaits      = desc{"l4proxy_bandwidth_waits_total", counter, []string{"direction", "limit", "listener"}, "Times that bytes of a connection had to wait for a limit of bandwidth: of the connection, the client or the listener. Absent for limits that were never set."}
	bandwidthWait       = desc{"l4proxy_bandwidth_wait_seconds_total", counter, []string{"direction", "limit", "listener"}, "Time that bytes of connections waited for a limit of bandwidth. Its rate is the number of connections that are waiting."}
	acceptPauses        = desc{"l4proxy_accept_pauses_total", counter, []string{"cause", "listener"}, "Times that an event loop stopped accepting: slots (max_connections), resources (descriptors or memory), error."}
	listenerOpen        = desc{"l4proxy_listener_open", gauge, perListener, "1 if the listener accepts clients; 0 while it is drained, or closed because its pool cannot serve."}
	limitedClients      = desc{"l4proxy_per_client_clients", gauge, perListener, "Clients that have connections now, on listeners with per_client."}
	recentClients       = desc{"l4proxy_per_client_recent_clients", gauge, perListener, "Clients that have connected so recently that per_client.rate applies to them. 131,072 fit."}
	unratedClients      = desc{"l4proxy_per_client_unrated_total", counter, perListener, "Connections to which per_client.rate was not applied, because too many clients were recent."}
	listenerLimit       = desc{"l4proxy_listener_max_connections", gauge, perListener, "The limit of connections of the listener; 0 means no limit of its own."}

	bansActive = desc{"l4proxy_bans_active", gauge, nil, "Banned prefixes now. Clients that were turned away for one are in l4proxy_connections_denied_total with the rule ban."}

	backendActive = desc{"l4proxy_backend_connections_active", gauge, perBackend, "Connections to the backend now, including those being dialed."}
	backendDials  = desc{"l4proxy_backend_dials_total", counter, []string{"backend", "pool", "result"}, "Dials that have ended, by result: ok, or the reason of the failure."}
	backendUp     = desc{"l4proxy_backend_up", gauge, perBackend, "1 if clients may be sent to the backend; 0 if its checks fail, in backoff, while ejected, and when an operator has drained it or set it down."}
	backendDrain  = desc{"l4proxy_backend_drained", gauge, perBackend, "1 if an operator has drained the backend or set it down."}
	dialDuration  = desc{"l4proxy_backend_dial_duration_seconds", buckets, perPool, "Duration of dials that were answered."}

	poolServing   = desc{"l4proxy_pool_serving", gauge, perPool, "1 if any backend of the pool can serve, by its checks and the operator."}
	poolActive    = desc{"l4proxy_pool_connections_active", gauge, perPool, "Connections of all backends of the pool now, including those being dialed, and of removed backends."}
	poolLimit     = desc{"l4proxy_pool_max_connections", gauge, perPool, "The limit of connections of the pool; 0 means no limit."}
	poolPanicking = desc{"l4proxy_pool_panicking", gauge, perPool, "1 if so few backends are usable that health and ejections are ignored (panic_threshold)."}
	poolBackends  = desc{"l4proxy_pool_backends", gauge, []string{"pool", "state"}, "Backends by state: up, unknown, down, drain, backoff, ejected."}
	poolRetries   = desc{"l4proxy_pool_retries_total", counter, perPool, "Dials for clients whose previous dial had failed."}
	poolHedges    = desc{"l4proxy_pool_hedges_total", counter, perPool, "Second dials, made because the first one was slow (connect.hedge)."}
	poolHedgesWon = desc{"l4proxy_pool_hedges_won_total", counter, perPool, "Second dials that were answered first."}
	poolEjections = desc{"l4proxy_pool_ejections_total", counter, perPool, "Ejections of backends (outlier)."}
	poolBackoffs  = desc{"l4proxy_pool_backoffs_total", counter, perPool, "Times that a backend went into backoff after a failed dial."}
	poolPauses    = desc{"l4proxy_pool_dial_pauses_total", counter, perPool, "Clients whose dial had to wait because descriptors or memory were short."}

	queueWaiting  = desc{"l4proxy_queue_waiting", gauge, perPool, "Clients waiting in the queue of the pool now."}
	queueEntered  = desc{"l4proxy_queue_entered_total", counter, perPool, "Clients that had to wait in the queue, counted each time."}
	queueTimeouts = desc{"l4proxy_queue_timeouts_total", counter, perPool, "Clients whose wait in the queue timed out (queue.timeout)."}
	queueRejected = desc{"l4proxy_queue_rejected_total", counter, perPool, "Clients that found the queue full."}
	queueWait     = desc{"l4proxy_queue_wait_seconds", buckets, perPool, "Time that clients waited in the queue until they got a backend."}

	loopBusy        = desc{"l4proxy_loop_busy_seconds_total", counter, perLoop, "CPU time of the event loop. Its rate is the share of the time that the loop is busy: near 1, it is saturated."}
	loopDelay       = desc{"l4proxy_loop_run_delay_seconds_total", counter, perLoop, "Time that the event loop had work and waited for a CPU. Absent where the kernel does not report it."}
	loopConnections = desc{"l4proxy_loop_connections", gauge, perLoop, "Connections on the event loop now."}

	buildInfo       = desc{"l4proxy_build_info", gauge, []string{"go_version", "revision", "version"}, "Always 1; the labels say what is running."}
	engineInfo      = desc{"l4proxy_engine_info", gauge, []string{"engine"}, "Always 1; the label is the engine of the event loops, io_uring or epoll."}
	startTime       = desc{"l4proxy_start_time_seconds", gauge, nil, "Unix time at which the service started. Upgrades do not change it."}
	ready           = desc{"l4proxy_ready", gauge, nil, "1 if new clients should be sent here, as in /readyz."}
	openConnections = desc{"l4proxy_open_connections", gauge, nil, "Connections of all listeners now, including those that are being turned away."}
	maxConnections  = desc{"l4proxy_max_connections", gauge, nil, "The limit of connections of all listeners; 0 means no limit."}
	orphans         = desc{"l4proxy_orphaned_connections", gauge, nil, "Connections taken over in an upgrade whose listener is not in the configuration. No listener counts them."}
	linesDropped    = desc{"l4proxy_log_lines_dropped_total", counter, nil, "Log lines lost because the output of the log was slow."}
	recordsDropped  = desc{"l4proxy_log_records_dropped_total", counter, nil, "Connections that ended without a log line because formatting was slow. All other metrics count them."}

	reloadOK         = desc{"l4proxy_config_last_reload_success", gauge, nil, "1 if the last reload succeeded, or none has been tried yet."}
	reloadTime       = desc{"l4proxy_config_last_reload_timestamp_seconds", gauge, nil, "Unix time at which the configuration in effect was applied."}
	configGeneration = desc{"l4proxy_config_generation", gauge, nil, "The number of configurations that were put into effect, the first being 1."}
	reloads          = desc{"l4proxy_config_reloads_total", counter, []string{"result"}, "Reloads by result: success or failure."}
	rollbacks        = desc{"l4proxy_config_rollbacks_total", counter, nil, "Configurations that were rolled back."}
	unconfirmed      = desc{"l4proxy_config_unconfirmed", gauge, nil, "1 while the configuration is on trial, until it is confirmed or rolled back."}
	upgrades         = desc{"l4proxy_upgrades_total", counter, []string{"result"}, "Upgrades of the service by result: success or failure."}
	drains           = desc{"l4proxy_drains_active", gauge, []string{"kind"}, "Listeners and backends that an operator has drained, by kind: listener or backend."}
	dnsFailures      = desc{"l4proxy_dns_lookup_failures_total", counter, nil, "Failed look-ups of backends' host names."}
	dnsLookups       = desc{"l4proxy_dns_lookups_total", counter, nil, "Look-ups of backends' host names."}
	dnsFailing       = desc{"l4proxy_dns_names_failing", gauge, nil, "Backends' host names whose last look-up failed. Their last addresses stay in use."}
)

// list is all of them, in the order of the documentation.
var list = []*desc{
	&connectionsTotal, &connectionsActive, &connectionsClosed, &connectionsDenied, &ruleHits, &ruleLastHit, &listenerTarpit, &connectionsDuration,
	&bytesTotal, &bandwidthWaits, &bandwidthWait, &acceptPauses, &listenerOpen, &listenerLimit, &bansActive,
	&limitedClients, &recentClients, &unratedClients,
	&backendActive, &backendDials, &backendUp, &backendDrain, &dialDuration,
	&poolActive, &poolLimit, &poolServing, &poolPanicking, &poolBackends, &poolRetries, &poolHedges, &poolHedgesWon, &poolEjections,
	&poolBackoffs, &poolPauses,
	&queueWaiting, &queueEntered, &queueTimeouts, &queueRejected, &queueWait,
	&loopBusy, &loopDelay, &loopConnections,
	&buildInfo, &engineInfo, &startTime, &ready, &openConnections, &maxConnections, &orphans, &linesDropped,
	&recordsDropped,
	&reloadOK, &reloadTime, &configGeneration, &reloads, &rollbacks, &unconfirmed, &upgrades, &drains,
	&dnsFailures, &dnsLookups, &dnsFailing,
}
