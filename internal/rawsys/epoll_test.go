package rawsys

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMilliseconds(t *testing.T) {
	for timeout, want := range map[time.Duration]int{
		-1:                   -1,
		0:                    0,
		1:                    1,
		time.Millisecond:     1,
		time.Millisecond + 1: 2,
		1 << 62:              1<<31 - 1,
	} {
		if got := milliseconds(timeout); got != want {
			t.Errorf("%v is rounded to %d ms, want %d", timeout, got, want)
		}
	}
}

// Each way of waiting sees an event, returns its id, and does not end before its time.
func TestEpollWait(t *testing.T) {
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(epoll)
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	defer unix.Close(fds[1])
	if errno := EpollAdd(epoll, fds[0], unix.EPOLLIN, 42); errno != 0 {
		t.Fatal(errno)
	}
	events := make([]unix.EpollEvent, 4)
	ways := []struct{ precise, keep bool }{{false, false}, {false, true}}
	if HasEpollPwait2() {
		ways = append(ways, []struct{ precise, keep bool }{{true, false}, {true, true}}...)
	}
	const timeout = 1500 * time.Microsecond
	for _, way := range ways {
		started := time.Now()
		n, errno := EpollWait(epoll, events, timeout, way.precise, way.keep)
		if n != 0 || errno != 0 && errno != unix.EINTR {
			t.Errorf("%+v: %d events, %v, with nothing to tell", way, n, errno)
		}
		if took := time.Since(started); errno == 0 && took < timeout {
			t.Errorf("%+v: a wait of %v took %v", way, timeout, took)
		}
	}
	if _, errno := Send(fds[1], []byte("x"), 0); errno != 0 {
		t.Fatal(errno)
	}
	for _, way := range ways {
		for _, timeout := range []time.Duration{0, time.Hour, -1} {
			n, errno := EpollWait(epoll, events, timeout, way.precise, way.keep)
			if n != 1 || errno != 0 || events[0].Fd != 42 || events[0].Events != unix.EPOLLIN {
				t.Errorf("%+v, timeout %v: %d events, %v, the first %+v", way, timeout, n, errno, events[0])
			}
		}
	}
	if errno := EpollDelete(epoll, fds[0]); errno != 0 {
		t.Fatal(errno)
	}
	if n, _ := EpollWait(epoll, events, 0, false, true); n != 0 {
		t.Error("an event came after the registration had ended")
	}
}
