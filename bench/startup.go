package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// startUp is how long a peer takes from its start until it listens.
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
				return measured{}, errors.New("nobody took the time of its start")
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
