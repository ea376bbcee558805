package main

import (
	"fmt"
	"net"
	"os"
	"strconv"
)

// lab is where the measurements run, one after the other: a place, a port for the
// proxy, one for the origin behind it, and a directory for their files.
type lab struct {
	options
	place       *place
	dir         string
	proxyPort   int
	backendPort int
	adminPort   int // of a peer that is observed
	moreFronts  [moreFronts]ports
	// failingPorts are the ports of backends that are processes of their own.
	failingPorts [failingBackends]int
	runs         int     // measurements so far
	slowestRate  float64 // requests per second of the slowest proxy, once it is known
	progress     float64 // of a scenario's rounds, from 0 to 1
}

// moreFronts is the most fronts beside the first.
const moreFronts = 3

// ports are those of one front: of the proxy, and of the origin behind it.
type ports struct{ proxy, backend int }

// front returns the configuration of the proxy. All addresses of an origin belong
// to one machine, so one is enough.
func (p ports) front(origins site) front {
	return front{everywhere(p.proxy), []string{net.JoinHostPort(origins.host(0), strconv.Itoa(p.backend))}}
}

// newLab returns a lab on loopback. The caller may move it to another place before
// the first measurement.
func newLab(dir string, o options) (*lab, error) {
	// nginx's workers, which are not root, must be able to use it.
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	l := &lab{options: o, place: onLoopback(), dir: dir}
	wanted := []*int{&l.proxyPort, &l.backendPort, &l.adminPort}
	for i := range l.moreFronts {
		wanted = append(wanted, &l.moreFronts[i].proxy, &l.moreFronts[i].backend)
	}
	for i := range l.failingPorts {
		wanted = append(wanted, &l.failingPorts[i])
	}
	next := 20000
	for _, port := range wanted {
		var err error
		if *port, err = freePort(next); err != nil {
			return nil, err
		}
		next = *port + 1
	}
	return l, nil
}

// offers returns the peers that the lab's place has, and a line for each other
// one.
func (l *lab) offers(peers []peer) (here []peer, missing []string) {
	for _, p := range peers {
		if why := p.lacks(l.place, size{}); why != "" {
			missing = append(missing, p.name+": "+why)
			continue
		}
		here = append(here, p)
	}
	return here, missing
}

// freePort returns the first free port from first on, below the range of ephemeral
// ports (ip_local_port_range).
func freePort(first int) (int, error) {
	for port := first; port < 32768; port++ {
		listener, err := net.Listen("tcp4", ":"+strconv.Itoa(port))
		if err == nil {
			return port, listener.Close()
		}
	}
	return 0, fmt.Errorf("no free port from %d to 32767", first)
}
