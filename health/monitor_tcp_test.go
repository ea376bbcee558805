package health

import (
	"errors"
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/sys/unix"

	"l4proxy/backend"
	"l4proxy/internal/testnet"
)

// The prober's sockets are real, and the kernel's handshakes take no time that synctest would know
// of; timeouts pass at once.

func TestMonitorOfTCP(t *testing.T) {
	testnet.SameFiles(t)
	up, silent, refusing := testnet.Listen(t, "tcp", "").Addr, testnet.Silent(t), testnet.Refusing(t)
	synctest.Test(t, func(t *testing.T) {
		var targets []Target
		for _, address := range []string{up, silent, refusing} {
			addr, err := net.ResolveTCPAddr("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			targets = append(targets, Target{Backend: &backend.Backend{Address: address}, Addr: addr})
		}
		o := Options{Interval: time.Second, FastInterval: 100 * time.Millisecond, Timeout: 300 * time.Millisecond}
		w := run(Group{Options: o, Checker: NewTCP(), Targets: targets})
		<-time.After(5 * time.Second)
		w.stop()
		changes := w.take()
		slices.SortFunc(changes, func(a, b told) int { return int(a.at - b.at) })
		want := []Change{
			{targets[0].Backend, backend.HealthUnknown, backend.HealthUp, nil, 1},
			{targets[2].Backend, backend.HealthUnknown, backend.HealthDown, connectError(unix.ECONNREFUSED), 3},
			{targets[1].Backend, backend.HealthUnknown, backend.HealthDown, errConnectTimeout, 3},
		}
		for i, latest := range []time.Duration{2 * tick, 200*time.Millisecond + 2*tick, 900*time.Millisecond + 3*tick} {
			if i >= len(changes) || changes[i].Change != want[i] || changes[i].at > latest {
				t.Errorf("told %+v, want %+v by %v", changes, want[i], latest)
			}
		}
		if len(changes) != len(want) {
			t.Errorf("told of %d changes, want %d", len(changes), len(want))
		}
	})
}

func TestTCPBackendComesAndGoes(t *testing.T) {
	testnet.SameFiles(t)
	b := testnet.Listen(t, "tcp", "")
	changes := make(chan Change, 10)
	group := Group{Options: Options{Interval: 50 * time.Millisecond}, Checker: NewTCP(), Targets: []Target{{Addr: addrOf(t, "tcp", b.Addr)}}}
	w := watching(func(c Change) { changes <- c }, group)
	defer w.start()()
	next := func() Change {
		select {
		case c := <-changes:
			return c
		case <-time.After(testnet.Patience):
			t.Fatal("no change is reported")
			return Change{}
		}
	}
	if c := next(); c.To != backend.HealthUp {
		t.Fatalf("told %+v, want up", c)
	}
	b.Close()
	if c := next(); c.To != backend.HealthDown || !errors.Is(c.Err, unix.ECONNREFUSED) {
		t.Fatalf("told %+v, want down for a refusal", c)
	}
	testnet.Listen(t, "tcp", b.Addr)
	if c := next(); c.To != backend.HealthUp {
		t.Fatalf("told %+v, want up", c)
	}
}

// An idle proxy wakes up for its checks and once for their answers, and not otherwise.
func TestFewTurnsForFewTargets(t *testing.T) {
	listening := addrOf(t, "tcp", testnet.Listen(t, "tcp", "").Addr)
	silent := addrOf(t, "tcp", testnet.Silent(t))
	for _, test := range []struct {
		name     string
		targets  []net.Addr
		interval time.Duration
		most     int // turns a minute
	}{
		{"none", nil, 0, 1},
		{"two at 2 s", []net.Addr{listening, listening}, 2 * time.Second, 2*60 + 1},
		{"one that is dead", []net.Addr{silent}, 2 * time.Second, 30 * 25},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				group := Group{Options: Options{Interval: test.interval}, Checker: NewTCP()}
				for _, addr := range test.targets {
					group.Targets = append(group.Targets, Target{Backend: new(backend.Backend), Addr: addr})
				}
				m := New()
				m.Add(group)
				r := newRunner(m)
				defer r.prober.closeAll()
				began := time.Now()
				turns := 0
				const minutes = 50 // for more checks than may be under way at once
				for time.Since(began) < minutes*time.Minute {
					<-time.After(r.turn(t.Context()))
					turns++
				}
				if turns > minutes*test.most {
					t.Errorf("%d turns a minute, want at most %d", turns/minutes, test.most)
				}
				if got, want := int(m.Checks()), len(test.targets)*30*minutes; got < want-2 {
					t.Errorf("%d checks, want %d", got, want)
				}
			})
		})
	}
}
