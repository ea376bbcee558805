package proxy

import (
	"runtime"
	"runtime/debug"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"l4proxy/internal/testnet"
)

// TestClosingListenerContinuesAfterErrors: while a listener that is being closed accepts its queued
// clients, accept(2) fails for single connections. The clients behind them are accepted
// nevertheless. No peer can cause such errors on the loopback, so the test answers in the kernel's
// place.
func TestClosingListenerContinuesAfterErrors(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Serve(t, "tcp", "", testnet.Echo)
		in := startInside(t, engine, b, func(l *Listener, _ *Options) { l.Slots = NewSlots(1) })
		w := in.server.workers[0]
		clients := []testnet.Conn{testnet.Dial(t, "tcp", in.addr)}
		echoes(t, clients[0])
		in.full() // from here on, nothing is accepted
		for range 3 {
			clients = append(clients, testnet.Dial(t, "tcp", in.addr))
		}
		asked := in.askAboutAccepts(w)
		closed := make(chan struct{})
		w.loop.Post(func(*worker) {
			w.stopAccepting()
			close(closed)
		})
		answers := []unix.Errno{unix.EPROTO, 0, unix.ECONNABORTED, unix.ENETDOWN, 0, unix.ETIMEDOUT}
		for isOpen := true; isOpen; {
			select {
			case <-closed:
				isOpen = false
			default:
				if len(answers) == 0 {
					asked.answer(t, 0)
				} else if asked.answer(t, answers[0]) {
					answers = answers[1:]
				}
			}
		}
		if len(answers) > 0 {
			t.Errorf("the listener was closed before accept failed with %v", answers)
		}
		for i, c := range clients[1:] {
			clients[i].Close() // makes room for the next
			echoes(t, c)
		}
	})
}

// TestClosingListenerEndsWithErrors: accept(2) always fails, with an error of a single connection.
func TestClosingListenerEndsWithErrors(t *testing.T) {
	insideEngines(t, func(t *testing.T, engine string) {
		b := testnet.Listen(t, "tcp", "")
		in := startInside(t, engine, b, func(l *Listener, _ *Options) { l.Slots = NewSlots(1) })
		w := in.server.workers[0]
		testnet.Dial(t, "tcp", in.addr)
		in.full()
		in.filterAccepts(w, unix.SECCOMP_RET_ERRNO|uint32(unix.EPROTO), 0)
		in.on(w, w.stopAccepting)
		if n := in.server.listening.Load(); n != 0 {
			t.Errorf("%d listening sockets are open", n)
		}
	})
}

// filterAccepts makes the kernel do something else on each accept4(2) of a worker's thread:
// seccomp(2). The filter ends with the thread, which belongs to the loop alone.
func (in *inside) filterAccepts(w *worker, action uint32, flags uintptr) (fd int) {
	in.t.Helper()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_ACCEPT4, Jf: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: action},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	var errno unix.Errno
	in.on(w, func() {
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			errno = err.(unix.Errno)
			return
		}
		var r uintptr
		r, _, errno = unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program)))
		fd = int(r)
	})
	if errno != 0 {
		in.t.Skipf("needs to filter system calls: seccomp: %v", errno)
	}
	return fd
}

// An accepts is the seccomp_unotify(2) listener that receives a thread's accept4(2) calls.
type accepts int

// askAboutAccepts makes a worker's thread wait for an answer at each accept4(2). A garbage
// collection would wait for that thread, and stop the goroutine that answers.
func (in *inside) askAboutAccepts(w *worker) accepts {
	in.t.Helper()
	percent := debug.SetGCPercent(-1)
	in.t.Cleanup(func() { debug.SetGCPercent(percent) })
	runtime.GC() // ends one that is in progress
	fd := in.filterAccepts(w, unix.SECCOMP_RET_USER_NOTIF, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER)
	in.t.Cleanup(func() { unix.Close(fd) })
	return accepts(fd)
}

// answer answers the next question, if one comes soon: with an error, or, if that is 0, by letting
// the call continue. It reports whether the answer was accepted: a signal withdraws the question,
// and the kernel asks again.
func (a accepts) answer(t *testing.T, errno unix.Errno) bool {
	t.Helper()
	fds := []unix.PollFd{{Fd: int32(a), Events: unix.POLLIN}}
	if n, _ := unix.Poll(fds, 1); n <= 0 {
		return false
	}
	var question struct { // struct seccomp_notif
		id          uint64
		pid, flags  uint32
		nr          int32
		arch        uint32
		instruction uint64
		args        [6]uint64
	}
	var answer struct { // struct seccomp_notif_resp
		id    uint64
		value int64
		errno int32
		flags uint32
	}
	if !a.control(unix.SECCOMP_IOCTL_NOTIF_RECV, unsafe.Pointer(&question)) {
		return false
	}
	answer.id, answer.errno = question.id, -int32(errno)
	if errno == 0 {
		answer.flags = unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE
	}
	return a.control(unix.SECCOMP_IOCTL_NOTIF_SEND, unsafe.Pointer(&answer))
}

func (a accepts) control(request uintptr, arg unsafe.Pointer) bool {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(a), request, uintptr(arg))
	return errno == 0
}
