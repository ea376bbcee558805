package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"
)

// listening reports whether a TCP socket in the network namespace of process pid
// listens on port, on any address.
func listening(pid, port int) (bool, error) {
	for _, name := range []string{"tcp", "tcp6"} {
		up, err := listensIn(fmt.Sprintf("/proc/%d/net/%s", pid, name), port)
		// A kernel without IPv6 has no tcp6, a process that has ended no network.
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.EINVAL) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if up || err != nil {
			return up, err
		}
	}
	return false, nil
}

func listensIn(path string, port int) (bool, error) {
	table, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer table.Close()
	return hasListener(table, port)
}

// hasListener searches a table as in proc_pid_net(5): the second field is the
// local address in hexadecimal, the fourth the state, 0A for LISTEN. It stops
// after the listening sockets, which come first
// (Documentation/networking/proc_net_tcp.rst): tens of thousands of connections in
// TIME_WAIT may follow, and the table is read every millisecond.
func hasListener(table io.Reader, port int) (bool, error) {
	suffix := fmt.Sprintf(":%04X", port)
	lines := bufio.NewScanner(table)
	lines.Scan() // the heading
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != "0A" {
			return false, nil
		}
		if strings.HasSuffix(fields[1], suffix) {
			return true, nil
		}
	}
	return false, lines.Err()
}
