package doctor

// Check is one thing to look at.
type Check struct {
	Name string
	// About is for the documentation: what the check looks at.
	About string
	// look returns nothing if the check does not apply.
	look func(*Facts) []Finding
}

// Checks are all checks, in the order in which their findings are printed.
var Checks = []Check{
	{"configuration", "What a start or a reload would report: the file, its addresses, the names in it.", configuration},
	{"process", "Whether the running proxy is this program, in this network namespace.", runningProcess},
	{"descriptors", "The limit of open files, `fs.nr_open` and `fs.file-max` against `max_connections`, listeners, health checks and pipes.", descriptors},
	{"accept-queue", "`net.core.somaxconn`, SYN cookies, and how many clients found a queue full.", acceptQueue},
	{"source-ports", "`net.ipv4.ip_local_port_range` against the connections to one backend.", sourcePorts},
	{"listening-ports", "Ports of listeners and of local backends that an outgoing connection may take.", listeningPorts},
	{"time-wait", "Sockets in TIME_WAIT against the source ports and `net.ipv4.tcp_max_tw_buckets`.", timeWait},
	{"conntrack", "The kernel's connection tracking table: its size, its entries, what it has dropped.", conntrack},
	{"keepalive", "`timeouts.idle` and connection tracking against keepalive, and against the idle timeouts of cloud load balancers.", keepalive},
	{"io_uring", "Whether a ring can be created, and if not, why: kernel, sysctl, seccomp, locked memory.", ioUring},
	{"pipes", "`fs.pipe-user-pages-soft` for a proxy without privileges.", pipes},
	{"clock", "A clock source that needs a system call, or a slow device.", clock},
	{"cpu", "The CPU quota and the CPU affinity against `workers`; throttling.", cpu},
	{"numa", "Workers on more than one NUMA node.", numa},
	{"memory", "The memory limit against `max_connections`; processes that were killed.", memory},
	{"tcp-memory", "`net.ipv4.tcp_mem` against the memory of all sockets.", tcpMemory},
	{"privileges", "What the proxy keeps that it does not need: root, writing everywhere.", privileges},
	{"low-ports", "Ports that need a privilege.", lowPorts},
	{"ipv6", "IPv6 addresses in the configuration on a machine without IPv6.", ipv6},
	{"name-servers", "Whether each name server answers, if there are host names to look up.", nameServers},
}
