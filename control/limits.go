package control

import (
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
)

const (
	// descriptorsAside are for what is neither a connection nor a pipe: standard streams, the Go runtime, each loop's
	// own, name look-ups, a list file being read.
	descriptorsAside = 32
	// perLoop: the ring or epoll instance, and what wakes it.
	perLoop = 4
	// perConnection: the client's socket and the backend's.
	perConnection = 2
	// leastConnections is what is worth starting for.
	leastConnections = 16
)

// RaiseFileLimit raises the soft limit of open files to the hard one and returns it.
func RaiseFileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("cannot read the limit of open files: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		}
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// MaxConnections is the number of connections for which a limit of open files is enough. With wanted > 0 it returns
// that, or an error when the limit is too small for it. checks is what health checks have open at the most.
func MaxConnections(wanted, fileLimit, workers, listenSockets, checks int) (int, error) {
	// Pipes for bulk are worth having, but never more than an eighth: without one, bytes are copied.
	pipes := 2 * eventloop.PipesPerLoop * workers
	fixed := descriptorsAside + perLoop*workers + listenSockets + checks
	room := (fileLimit - fixed - min(pipes, fileLimit/8)) / perConnection
	// The smallest limit that has room for n connections.
	enoughFor := func(n int) int {
		others := fixed + perConnection*n
		return others + min(pipes, (others-1)/7) // a seventh of the others is an eighth of all
	}
	if wanted > 0 {
		if room < wanted {
			return 0, fmt.Errorf("max_connections is %d, but the limit of %d open files is enough for %d: "+
				"raise it to %d (ulimit -n, or LimitNOFILE= in systemd) or lower max_connections",
				wanted, fileLimit, max(room, 0), enoughFor(wanted))
		}
		return wanted, nil
	}
	if room < leastConnections {
		return 0, fmt.Errorf("the limit of %d open files is too small to serve with %d listening sockets: "+
			"raise it to %d or more (ulimit -n, or LimitNOFILE= in systemd)",
			fileLimit, listenSockets, enoughFor(leastConnections))
	}
	return room, nil
}
