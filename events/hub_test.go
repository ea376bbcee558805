package events_test

import (
	"strconv"
	"testing"
	"time"

	"l4proxy/events"
)

func publish(h *events.Hub, n int) {
	for i := range n {
		h.Publish(events.Event{Message: strconv.Itoa(i)})
	}
}

// IDs increase by one, and those of a later process are greater.
func TestIDs(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	h := events.NewHub(now)
	publish(h, 3)
	list, missed := h.After(0, 10)
	if len(list) != 3 || missed != 0 {
		t.Fatalf("%d events, %d missed", len(list), missed)
	}
	for i, e := range list {
		if e.ID != h.First()+uint64(i) || e.Message != strconv.Itoa(i) {
			t.Errorf("event %d: %+v", i, e)
		}
	}
	later := events.NewHub(now.Add(time.Second))
	if later.First() <= list[2].ID {
		t.Errorf("first ID %d after %d", later.First(), list[2].ID)
	}
	if list[2].ID >= 1<<53 {
		t.Errorf("ID %d is too large for JavaScript", list[2].ID)
	}
}

// A reader gets what comes after the last event that it has seen, in pieces as large as it wants.
func TestReadingOn(t *testing.T) {
	h := events.NewHub(time.Now())
	publish(h, 5)
	first, _ := h.After(0, 2)
	rest, missed := h.After(first[1].ID, 10)
	if len(first) != 2 || len(rest) != 3 || missed != 0 || rest[0].Message != "2" {
		t.Errorf("%d, then %d from %q, %d missed", len(first), len(rest), rest[0].Message, missed)
	}
	if none, _ := h.After(rest[2].ID, 10); len(none) != 0 {
		t.Errorf("%d events after the last one", len(none))
	}
}

// A reader learns how many events have left the ring before it came.
func TestMissedEvents(t *testing.T) {
	h := events.NewHub(time.Now())
	publish(h, 10)
	seen, _ := h.After(0, 10)
	publish(h, events.Kept)
	for name, c := range map[string]struct{ after, missed uint64 }{
		"a new reader":              {0, 0},
		"the last seen is kept":     {seen[9].ID, 0},
		"one is missing":            {seen[8].ID, 1},
		"all ten are":               {h.First() - 1, 10},
		"from an earlier process":   {1, 10},
		"from a clock that was off": {seen[9].ID + 1<<40, 10},
	} {
		list, missed := h.After(c.after, events.Kept)
		if len(list) != events.Kept || missed != c.missed || list[0].ID != seen[9].ID+1 {
			t.Errorf("%s: %d events from %d, %d missed, want %d", name, len(list), list[0].ID, missed, c.missed)
		}
	}
}

// A watcher is woken once for many events, and Publish does not wait for it.
func TestWatch(t *testing.T) {
	h := events.NewHub(time.Now())
	wake, stop := h.Watch()
	publish(h, 10)
	<-wake
	select {
	case <-wake:
		t.Error("woken twice")
	default:
	}
	stop()
	publish(h, 1)
	select {
	case <-wake:
		t.Error("woken after stop")
	default:
	}
}
