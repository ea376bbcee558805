package eventloop

import "golang.org/x/sys/unix"

// watch polls more than once: a poll of io_uring always reports POLLRDHUP (IO_POLL_UNMASK in the
// kernel's io_uring/poll.c), so a single one would end at once after a FIN that is already known.
func (u *uring) watch(s Slot, _ bool) {
	so := u.table.at(s)
	so.in.polling = true
	u.poll(so.fd, 0, userData(forReadPoll, s)).len = pollAddMulti
}

// watched handles one completion of the poll of a watch. The poll stays in the kernel until it is
// cancelled.
func (u *uring) watched(s Slot, so *socket, e *cqe) {
	ends := uint32(unix.POLLHUP | unix.POLLERR)
	if so.in.fin {
		ends |= unix.POLLRDHUP
	}
	if e.res >= 0 && uint32(e.res)&ends != 0 {
		so.in.found = true
	}
	more := e.flags&cqeMore != 0
	switch {
	case more && so.in.found:
		u.cancel(userData(forReadPoll, s))
	case more:
	case so.in.found && !so.in.cancelled:
		so.in.polling = false
		u.endRead(s, so, Completion{})
	case so.in.cancelled:
		so.in.polling = false
		u.endRead(s, so, Completion{Err: unix.ECANCELED})
	case e.res < 0:
		so.in.polling = false
		u.endRead(s, so, Completion{Err: unix.Errno(-e.res)})
	default: // the kernel has ended the poll by itself
		u.watch(s, so.in.fin)
	}
}
