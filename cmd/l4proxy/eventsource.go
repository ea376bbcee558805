package main

import (
	"context"

	"l4proxy/admin"
	"l4proxy/events"
)

// eventSource is where the admin address gets its events and statistics from.
type eventSource struct {
	hub     *events.Hub
	sampler *sampler
}

// eventsAtOnce is how many events a stream takes from the ring at a time.
const eventsAtOnce = 32

// Recent are the latest events with an ID greater than after.
func (s *eventSource) Recent(after uint64) []admin.Event {
	list, _ := s.hub.After(after, events.Kept)
	shown := make([]admin.Event, 0, len(list))
	for _, e := range list {
		shown = append(shown, admin.Event(e))
	}
	return shown
}

// Follow sends what is new until ctx is done. While send waits, nothing is queued: events are in
// the ring of the Hub, or gone, and of the Stats only the latest counts.
func (s *eventSource) Follow(ctx context.Context, after uint64, stats bool, send func(admin.StreamMessage) error) error {
	woken, stop := s.hub.Watch()
	defer stop()
	var sampled <-chan struct{}
	if stats {
		var stop func()
		sampled, stop = s.sampler.watch()
		defer stop()
		if err := send(admin.StreamMessage{History: s.sampler.past()}); err != nil {
			return err
		}
	}
	if after == 0 { // from here on, what leaves the ring unread is missing
		after = s.hub.Oldest() - 1
	}
	for seen := uint64(0); ; {
		var err error
		if after, err = s.sendEvents(ctx, after, send); err != nil {
			return err
		}
		if latest, number := s.sampler.now(); stats && number != seen {
			seen = number
			if err := send(admin.StreamMessage{Stats: &latest}); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-woken:
		case <-sampled:
		}
	}
}

// sendEvents sends the events after one, and returns the ID of the last.
func (s *eventSource) sendEvents(ctx context.Context, after uint64, send func(admin.StreamMessage) error) (uint64, error) {
	for ctx.Err() == nil {
		list, missed := s.hub.After(after, eventsAtOnce)
		if missed > 0 {
			if err := send(admin.StreamMessage{Gap: &admin.Gap{Missed: missed}}); err != nil {
				return after, err
			}
		}
		for i := range list {
			e := admin.Event(list[i])
			if err := send(admin.StreamMessage{Event: &e}); err != nil {
				return after, err
			}
			after = e.ID
		}
		if len(list) < eventsAtOnce {
			break
		}
	}
	return after, nil
}
