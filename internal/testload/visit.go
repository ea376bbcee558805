package testload

import (
	"fmt"
	"sync"
	"time"
)

// mostVisits bounds how many visits are under way. If the proxy stalls until the bound
// is reached, new clients wait, and the report says by how much they were late.
const mostVisits = 3000

// requestSizes are used in turn: below and above the size of a segment, and of a loop's buffer.
var requestSizes = []int{1, 100, 700, 2000, 17_000, 300, 64}

// comeAndGo makes visits at an even rate until the load is to end. All times are fixed in advance,
// so a visit that stalls delays no other.
func (l *Load) comeAndGo() {
	var visits sync.WaitGroup
	defer visits.Wait()
	slots := make(chan struct{}, mostVisits)
	from := time.Now()
	for i := 0; ; i++ {
		due := from.Add(time.Duration(float64(i) / l.spec.Rate * float64(time.Second)))
		if !l.rest(due) {
			return
		}
		select {
		case slots <- struct{}{}:
		case <-l.stop:
			return
		}
		l.noteLate(time.Since(due))
		visits.Go(func() {
			defer func() { <-slots }()
			l.visit(i)
		})
	}
}

func (l *Load) visit(i int) {
	from := time.Now()
	if err := l.request(i); err != nil {
		l.fail(fmt.Sprintf("visit %d", i+1), err)
		return
	}
	took := time.Since(from)
	l.served.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.visits = append(l.visits, took)
}

// request is one visit.
func (l *Load) request(i int) error {
	c, err := l.dial(i)
	if err != nil {
		return err
	}
	defer c.Close()
	size := requestSizes[i%len(requestSizes)]
	h := header{kind: visit, stream: l.nextStream(), length: uint32(size)}
	if i%2 == 1 {
		h.kind = visitClosing
	}
	message := append(h.bytes(), h.stream.Piece(0, size)...)
	if err := write(c, message, l.spec.Patience); err != nil {
		return err
	}
	if h.kind == visitClosing {
		if err := c.CloseWrite(); err != nil {
			return err
		}
	}
	answer := newChecker(c, h.stream)
	if err := answer.exactly(size, l.spec.Patience); err != nil {
		return err
	}
	return answer.end(l.spec.Patience)
}

func (l *Load) noteLate(by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.late = max(l.late, by)
}
