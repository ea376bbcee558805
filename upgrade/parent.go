package upgrade

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// In a container, the proxy usually is process 1, and the container ends with it. So process 1 does
// not end after an upgrade. It stays as the parent of the processes that serve: it passes signals
// on to the current one, waits for orphans as process 1 must, and ends with the status of the last
// one. When a serving process upgrades in turn, it reports its successor, whose parent becomes
// process 1 when the old one ends.

// KindParent is the kind of the socket to a parent.
const KindParent = "parent"

// successorPatience is how long the report of a successor may take after the process has ended.
const successorPatience = time.Second

// successor is kindSuccessor.
type successor struct {
	PID int `json:"pid"`
}

// Parent is process 1 for a process that serves in its stead.
type Parent struct {
	*link
	// FD is the descriptor, for the next process.
	FD   int
	file *os.File
}

// Parent returns the old process if it stays as a parent, nil if not. It is called after Receive.
func (s *Session) Parent() (*Parent, error) {
	if !s.stays() {
		return nil, nil
	}
	return newParent(s.link)
}

// InheritParent takes over the parent of the old process.
func (s *Sockets) InheritParent() (*Parent, error) {
	fds := s.Named(KindParent, "")
	if len(fds) != 1 {
		closeAll(fds)
		return nil, nil
	}
	l, err := newLink(os.NewFile(uintptr(fds[0]), "parent"))
	if err != nil {
		return nil, err
	}
	return newParent(l)
}

func newParent(l *link) (*Parent, error) {
	file, err := l.conn.File()
	if err != nil {
		l.close()
		return nil, err
	}
	return &Parent{link: l, FD: int(file.Fd()), file: file}, nil
}

// Succeeded reports that another process serves from now on.
func (p *Parent) Succeeded(pid int) error {
	return p.send(kindSuccessor, successor{pid}, nil)
}

// Close closes the socket.
func (p *Parent) Close() {
	p.close()
	p.file.Close()
}

// stays reports whether the old process does not end.
func (s *Session) stays() bool { return s.old.PID == 1 }

// Supervise is the rest of the life of process 1 after an upgrade with this Result. It returns the
// exit status of the last process that served: 128 plus the number of the signal if one ended it.
func (r *Result) Supervise(signals <-chan os.Signal) (status int) {
	defer r.child.close() // which ends the goroutine
	r.child.until(time.Time{})
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	successors := make(chan int, 1)
	go func() {
		defer close(successors)
		for {
			f, err := r.child.receive()
			if err != nil {
				return
			}
			closeAll(f.fds)
			var s successor
			if f.as(kindSuccessor, &s) == nil && s.PID > 1 {
				successors <- s.PID
			}
		}
	}()

	serving, exited := r.PID, r.child.exited
	ended := make(map[int]int) // statuses of children that have ended
	for {
		// A process reports its successor while it still runs, and from then on signals are for the
		// successor.
		next, ok := awaitSuccessor(successors, 0)
		for pid, how := reap(); pid > 0; pid, how = reap() {
			ended[pid] = how
		}
		status, over := ended[serving]
		if !over && unix.Kill(serving, 0) == unix.ESRCH {
			status, over = r.child.status(serving), true
		}
		if over && !ok {
			if next, ok = awaitSuccessor(successors, successorPatience); !ok {
				return status
			}
		}
		if ok {
			serving = next
			continue
		}
		clear(ended) // other orphans do not matter
		select {
		case next := <-successors:
			if next > 0 {
				serving = next
			} else {
				successors = nil // no process that could report still has the socket
			}
		case s := <-signals:
			if next, ok := awaitSuccessor(successors, 0); ok {
				serving = next
			}
			_ = unix.Kill(serving, s.(unix.Signal)) // if it has just ended, there is nothing to stop
		case <-children:
		case <-exited: // os/exec has waited for it
			exited = nil
		}
	}
}

// reap waits for a child that has ended, if there is one.
func reap() (pid, status int) {
	var how unix.WaitStatus
	for {
		pid, err := unix.Wait4(-1, &how, unix.WNOHANG, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || pid <= 0 {
			return 0, 0
		}
		return pid, statusOf(how)
	}
}

func statusOf(how unix.WaitStatus) int {
	if how.Signaled() {
		return 128 + int(how.Signal())
	}
	return how.ExitStatus()
}

// status is how the new process has ended, as far as os/exec knows it; 1 if not.
func (c *child) status(pid int) int {
	if pid != c.pid() {
		return 1
	}
	<-c.exited
	if c.cmd.ProcessState == nil { // reap was first, in an earlier round
		return 1
	}
	return statusOf(unix.WaitStatus(c.cmd.ProcessState.Sys().(syscall.WaitStatus)))
}

// awaitSuccessor returns a successor that was reported, or is within the time.
func awaitSuccessor(successors <-chan int, patience time.Duration) (pid int, ok bool) {
	select {
	case pid, ok = <-successors:
		return pid, ok
	default:
	}
	select {
	case pid, ok = <-successors:
		return pid, ok
	case <-time.After(patience):
		return 0, false
	}
}
