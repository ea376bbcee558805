package eventloop

import (
	"slices"

	"golang.org/x/sys/unix"

	"l4proxy/internal/rawsys"
)

// Pipes carry bulk between two sockets inside the kernel. A connection borrows one only while bytes
// are in it: two more descriptors and up to pipeSize of kernel memory per connection are too much
// to keep.
const (
	pipeSize  = 256 << 10
	pipesKept = 4 // when the loop is quiet
)

// PipesPerLoop is the greatest number of pipes, two descriptors each, that a loop opens. It bounds
// what slow readers can hold. Beyond it, connections copy through buffers instead.
const PipesPerLoop = 32

// A Pipe is a pipe(7) with N bytes in it.
type Pipe struct {
	r, w int
	// N is the number of bytes in the pipe.
	N int
}

type pipePool struct {
	free []*Pipe
	all  []*Pipe // free or borrowed
	// unusable: a security profile forbids one of the system calls that splicing needs.
	unusable bool
}

// borrow returns an empty pipe, or nil when none is free.
func (p *pipePool) borrow() *Pipe {
	if n := len(p.free); n > 0 {
		pipe := p.free[n-1]
		p.free = p.free[:n-1]
		return pipe
	}
	if p.unusable || len(p.all) >= PipesPerLoop {
		return nil
	}
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		p.unusable = forbidden(toErrno(err))
		return nil
	}
	// Fails for an ordinary user with many pipes (pipe-user-pages-soft, pipe(7)). A small pipe
	// works too.
	_, _ = unix.FcntlInt(uintptr(fds[0]), unix.F_SETPIPE_SZ, pipeSize)
	pipe := &Pipe{r: fds[0], w: fds[1]}
	p.all = append(p.all, pipe)
	return pipe
}

// giveBack takes a pipe back. If it still holds bytes, which were for a connection that is gone, it
// is closed.
func (p *pipePool) giveBack(pipe *Pipe) {
	if pipe.N > 0 {
		p.close(pipe)
		return
	}
	p.free = append(p.free, pipe)
}

// forbidden reports whether an errno means that the system call is not available at all.
func forbidden(errno unix.Errno) bool {
	return errno == unix.ENOSYS || errno == unix.EPERM || errno == unix.EACCES
}

func (p *pipePool) trim(keep int) {
	for len(p.free) > keep {
		last := p.free[len(p.free)-1]
		p.free = p.free[:len(p.free)-1]
		p.close(last)
	}
}

// closeAll closes every pipe, borrowed or not: like buffers, pipes end with the loop.
func (p *pipePool) closeAll() {
	for len(p.all) > 0 {
		p.close(p.all[0])
	}
	p.free = nil
}

func (p *pipePool) close(pipe *Pipe) {
	rawsys.Close(pipe.r)
	rawsys.Close(pipe.w)
	p.all = slices.DeleteFunc(p.all, func(other *Pipe) bool { return other == pipe })
}

// fill moves up to most bytes from a socket into a pipe that is borrowed for them. It returns the
// pipe, or nil without an error when no pipe is free or a pipe would not do.
func (p *pipePool) fill(socket, most int) (*Pipe, int, unix.Errno) {
	pipe := p.borrow()
	if pipe == nil {
		return nil, 0, 0
	}
	n, errno := rawsys.Splice(socket, pipe.w, most)
	pipe.N += n
	if n == 0 {
		p.giveBack(pipe)
	}
	if forbidden(errno) || errno == unix.EINVAL { // EINVAL: not for this kind of socket
		p.unusable = true
		return nil, 0, 0
	}
	// splice(2) never passes an urgent byte: it returns EAGAIN although more bytes have come, or 0,
	// as if the stream had ended, if the FIN has come too. A receive skips the mark and finds the
	// real end.
	if n == 0 && errno == 0 || errno == unix.EAGAIN && rawsys.AtUrgentMark(socket) {
		return nil, 0, 0
	}
	return pipe, n, errno
}
