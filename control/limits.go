package control

import (
	"fmt"

	"golang.org/x/sys/unix"

	"l4proxy/eventloop"
)

const (
	// ownDescriptors are for what is neither a connection nor a pipe: standard streams, the Go
	// runtime, name look-ups, a list file being read.
	ownDescriptors = 32
	// perLoop is for the ring or the epoll instance, and what wakes it.
	perLoop = 4
	// perConnection is for the client's socket and the backend's.
	perConnection = 2
	// minConnections is the lowest limit with which it makes sense to start.
	minConnections = 16
)

// RaiseFileLimit raises the soft limit of open files to the hard limit, and returns it.
func RaiseFileLimit() (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, fmt.Errorf("cannot read the open file limit: %w", err)
	}
	if limit.Cur < limit.Max {
		raised := unix.Rlimit{Cur: limit.Max, Max: limit.Max}
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &raised); err == nil {
			limit = raised
		}
	}
	return int(min(limit.Cur, 1<<30)), nil
}

// MaxConnections is the number of connections that a limit of open files allows. With wanted > 0 it
// returns that, or an error if the limit is too low. checks is the most descriptors that health
// checks have open.
func MaxConnections(wanted, fileLimit, workers, listenSockets, checks int) (int, error) {
	// Pipes speed up bulk transfers, but get at most an eighth: without a pipe, bytes are copied.
	pipes := 2 * eventloop.PipesPerLoop * workers
	fixed := ownDescriptors + perLoop*workers + listenSockets + checks
	room := (fileLimit - fixed - min(pipes, fileLimit/8)) / perConnection
	// limitFor is the lowest limit that allows n connections.
	limitFor := func(n int) int {
		others := fixed + perConnection*n
		return others + min(pipes, (others-1)/7) // a seventh of the others is an eighth of all
	}
	if wanted > 0 {
		if room < wanted {
			return 0, fmt.Errorf("max_connections is %d, but the open file limit of %d allows only %d: "+
				"raise the limit to %d (ulimit -n, or LimitNOFILE= in systemd) or lower max_connections",
				wanted, fileLimit, max(room, 0), limitFor(wanted))
		}
		return wanted, nil
	}
	if room < minConnections {
		return 0, fmt.Errorf("the open file limit of %d is too low for %d listening sockets: "+
			"raise it to %d or more (ulimit -n, or LimitNOFILE= in systemd)",
			fileLimit, listenSockets, limitFor(minConnections))
	}
	return room, nil
}
