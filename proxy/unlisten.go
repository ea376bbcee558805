package proxy

import (
	"golang.org/x/sys/unix"

	"l4proxy/eventloop/rawsys"
)

// SetListening has a listener stop to listen while nobody could serve its clients, so that who comes is refused by the
// kernel and a load balancer in front sees it; and listen again. Connections that are there go on. It concerns TCP; on a
// unix socket listening goes on.
//
// The sockets stay open and bound, so that nobody else can take the address: shutdown(2) of a listening TCP socket takes
// it back to the state before listen(2).
func (s *Server) SetListening(l *Listener, on bool) {
	for _, w := range s.workers {
		w.loop.Post(setListening{l, on})
	}
}

func (w *worker) setListening(m setListening) {
	for _, socket := range w.sockets {
		if socket.listener != m.listener || socket.closed || w.draining || socket.deaf == !m.on || rawsys.IsUnix(socket.fd) {
			continue
		}
		if m.on {
			w.listenAgain(socket)
			continue
		}
		socket.deaf, socket.failed = true, false
		w.loop.StopTimer(socket.index)
		if slot := slotOf(socket.index, client); w.loop.Busy(slot) {
			w.loop.CancelRead(slot) // and then stopListening
		} else {
			w.stopListening(socket)
		}
	}
}

// stopListening takes the clients that already wait in the queue of a socket, which would be reset, then shuts it.
func (w *worker) stopListening(socket *listenSocket) {
	w.takeQueued(socket) // those for whom there is no descriptor are reset: nobody could serve them anyway
	// Without this, another program could listen on the address meanwhile: it would need SO_REUSEADDR on both sides.
	rawsys.SetInt(socket.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 0)
	rawsys.Shutdown(socket.fd, unix.SHUT_RD)
	w.waitForPlaces(socket)
}

// waitForPlaces sees to clients of a socket that does not listen for whom there was no place yet.
func (w *worker) waitForPlaces(socket *listenSocket) {
	if len(socket.parked) > 0 {
		w.wanting.Store(true)
		w.loop.SetTimer(socket.index, w.loop.Now()+int64(acceptRetry))
	}
}

// listenAgain begins to listen and to accept again.
func (w *worker) listenAgain(socket *listenSocket) {
	socket.deaf = false
	slot := slotOf(socket.index, client)
	if w.loop.Busy(slot) {
		return // its accept has not ended yet, and will be followed by another one
	}
	rawsys.SetInt(socket.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1) // of connections that are there, too
	if errno := rawsys.Listen(socket.fd, backlog); errno != 0 {
		if !socket.failed {
			w.server.log.Error("cannot listen again; trying on", "listener", socket.listener.Name, "error", errno.Error())
		}
		socket.deaf, socket.failed = true, true
		w.loop.SetTimer(socket.index, w.loop.Now()+int64(acceptRetry))
		return
	}
	socket.failed = false
	rawsys.SetNonblock(socket.fd, w.loop.SocketFlags()&unix.SOCK_NONBLOCK != 0)
	w.accept(socket.index, socket)
}
