package eventloop

import (
	"slices"
	"testing"
)

// behaviour is something that both engines do alike.
type behaviour struct {
	name string
	test func(*testing.T, *driver)
}

// TestConformance holds both engines to the same behaviours on real sockets.
func TestConformance(t *testing.T) {
	table := slices.Concat(
		acceptBehaviours, connectBehaviours, receiveBehaviours, sendBehaviours, spliceBehaviours, watchBehaviours, readyBehaviours, cancelBehaviours,
		socketBehaviours, loopBehaviours,
	)
	for _, engine := range []string{Epoll, IOUring} {
		t.Run(engine, func(t *testing.T) {
			needEngine(t, engine)
			for _, b := range table {
				t.Run(b.name, func(t *testing.T) { b.test(t, start(t, engine)) })
			}
		})
	}
}

// needEngine skips the test where the kernel does not allow the engine.
func needEngine(t testing.TB, engine string) {
	t.Helper()
	if _, _, err := Probe(engine); err != nil {
		t.Skip(err)
	}
}

// on makes a behaviour of streams into one for each kind of them.
func on(name string, test func(t *testing.T, d *driver, network string), networks ...string) []behaviour {
	var all []behaviour
	for _, network := range networks {
		all = append(all, behaviour{name + "/" + network, func(t *testing.T, d *driver) { test(t, d, network) }})
	}
	return all
}

// streams are the kinds of connections that differ inside the kernel.
var streams = []string{"tcp", "unix"}
