package control

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"

	"l4proxy/proxy"
)

const weighted = `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {policy: round_robin, slow_start: 10s, backends: [192.0.2.1:1, {address: "192.0.2.2:1", weight: 2}]}}
`

// weights are the weights in effect, in the order of the members.
func (w *world) weights() string {
	var all []string
	for _, m := range w.pool().Balancer.Members() {
		all = append(all, fmt.Sprint(m.Weight))
	}
	return strings.Join(all, " ")
}

func (w *world) weigh(address string, weight int, want string) Weight {
	w.t.Helper()
	set, err := w.live.SetWeight("back", address, weight)
	if err != nil {
		w.t.Fatal(err)
	}
	synctest.Wait()
	if got := w.weights(); got != want {
		w.t.Errorf("weights %s, want %s", got, want)
	}
	return set
}

// A weight that an operator has set counts at once, and keeps what is known of the backend.
func TestSetWeight(t *testing.T) {
	inWorld(t, weighted, func(t *testing.T, w *world) {
		w.logs()
		b := w.backend(0)
		b.Acquire()
		set := w.weigh("192.0.2.1:1", 5, "5 2")
		if set.Weight != 5 || set.Configured != 1 || set.Pool != "back" || b != w.backend(0) || b.Active() != 1 {
			t.Errorf("%+v, %d connections", set, b.Active())
		}
		w.logged(`level=INFO msg="backend weight changed" pool=back backend=192.0.2.1:1 weight=5 previous=1 configured=1`)
		counts := make(map[string]int)
		for range 70 {
			counts[w.pick().Address]++
		}
		if counts["192.0.2.1:1"] != 50 {
			t.Errorf("picked %v of 70", counts)
		}
		if info := w.live.Pools()[0].Backends[0]; info.Weight != 5 || info.ConfiguredWeight != 1 {
			t.Errorf("shown: %d, configured %d", info.Weight, info.ConfiguredWeight)
		}
		if all := w.live.Weights(); len(all) != 1 || all[0].Backend != "192.0.2.1:1" || all[0].Weight != 5 || all[0].Configured != 1 {
			t.Errorf("%+v", all)
		}
		w.weigh("192.0.2.1:1", 0, "1 2")
		if all := w.live.Weights(); all != nil {
			t.Errorf("%+v after the reset", all)
		}
		for _, wrong := range []int{-1, MaxWeight + 1} {
			if _, err := w.live.SetWeight("back", "192.0.2.1:1", wrong); err == nil {
				t.Errorf("weight %d is taken", wrong)
			}
		}
		if _, err := w.live.SetWeight("", "192.0.2.9:1", 1); !errors.Is(err, ErrUnknown) {
			t.Errorf("an unknown backend: %v", err)
		}
	})
}

// It outlives reloads, those that change the configured weight too, until it is reset or the
// backend has been gone for a while.
func TestWeightOutlivesReloads(t *testing.T) {
	inWorld(t, weighted, func(t *testing.T, w *world) {
		w.weigh("192.0.2.2:1", 7, "1 7")
		w.apply(weighted)
		w.apply(strings.Replace(weighted, "weight: 2", "weight: 3", 1))
		if got := w.weights(); got != "1 7" {
			t.Errorf("weights %s after reloads", got)
		}
		w.weigh("192.0.2.2:1", 0, "1 3")
		w.weigh("192.0.2.2:1", 7, "1 7")
		without := strings.Replace(weighted, `, {address: "192.0.2.2:1", weight: 2}`, "", 1)
		w.apply(without)
		w.apply(weighted)
		if got := w.weights(); got != "1 7" {
			t.Errorf("weights %s after a rollback", got)
		}
		w.apply(without)
		if all := w.live.Weights(); all != nil {
			t.Errorf("%+v while it is gone", all)
		}
		w.pass(rollbackTime)
		w.apply(weighted)
		if got := w.weights(); got != "1 2" {
			t.Errorf("weights %s after a long absence", got)
		}
	})
}

// The weight of a name is that of all its addresses, now and later, unless an address has its own.
func TestWeightOfAName(t *testing.T) {
	inNamedWorld(t, `
listeners: {front: {bind: "127.0.0.1:1", pool: back}}
pools: {back: {backends: ["db.test:1"]}}
`, []string{"192.0.2.1", "192.0.2.2"}, func(t *testing.T, w *world) {
		w.weigh("192.0.2.2:1", 9, "1 9")
		w.weigh("db.test:1", 4, "4 4")
		w.weigh("192.0.2.2:1", 6, "4 6")
		w.update("db.test:1", 1, "192.0.2.2", "192.0.2.3")
		if got := w.weights(); got != "6 4" {
			t.Errorf("weights %s with another address", got)
		}
		w.weigh("192.0.2.2:1", 4, "4 4")
		w.weigh("db.test:1", 0, "1 1")
	})
}

// It moves to the next process.
func TestWeightsMoveToAnotherProcess(t *testing.T) {
	inWorld(t, weighted, func(t *testing.T, w *world) {
		w.weigh("192.0.2.1:1", 5, "5 2")
		text, err := json.Marshal(append(w.live.Weights(), Weight{Pool: "gone", Backend: "192.0.2.1:1", Weight: 3},
			Weight{Pool: "back", Backend: "192.0.2.2:1", Weight: MaxWeight + 1}))
		if err != nil {
			t.Fatal(err)
		}
		var saved []Weight
		if err := json.Unmarshal(text, &saved); err != nil {
			t.Fatal(err)
		}
		next := NewLive(slog.New(slog.DiscardHandler))
		next.clock = w.live.clock
		if err := next.Apply(plan(t, parse(t, weighted), noNames), func(*proxy.State) error { return nil }); err != nil {
			t.Fatal(err)
		}
		next.RestoreWeights(saved)
		if all := next.Weights(); len(all) != 1 || all[0].Weight != 5 || !all[0].Since.Equal(saved[0].Since) {
			t.Errorf("%+v, want %+v", all, saved[:1])
		}
		if m := next.Pools()[0].Backends; m[0].Weight != 5 || m[1].Weight != 2 {
			t.Errorf("weights %d and %d", m[0].Weight, m[1].Weight)
		}
	})
}
