package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// startUp measures the time from a peer's start until it listens.
func startUp(backends int) scenario {
	return scenario{
		name:  fmt.Sprintf("start-%d", backends),
		about: fmt.Sprintf("From the start of the process until it listens, with %d backends in its configuration.", backends),
		metrics: []metric{
			{name: "ready ms", digits: 1},
			{name: "PSS MB", digits: 1},
		},
		proxied: true,
		size:    size{backends: backends},
		origin:  answering(smallMessage, smallMessage),
		run: func(_ context.Context, b bench) (measured, error) {
			if b.ready == 0 {
				return measured{}, errors.New("the peer has no start time")
			}
			memory, err := memoryOf(b.pid)
			if err != nil {
				return measured{}, err
			}
			return measured{figures: figures{
				"ready ms": float64(b.ready) / float64(time.Millisecond),
				"PSS MB":   memory.pss / (1 << 20),
			}}, nil
		},
	}
}
