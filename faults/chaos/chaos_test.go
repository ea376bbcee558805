// Package chaos plays random connections through a running proxy. A seed determines every step of
// clients and backends. Every byte is checked. Every ending is compared with the endings that the
// same script allows, and has, without a proxy.
//
// "make faults" runs it. By hand, from the environment:
//
//	L4PROXY_CHAOS_SEED=7         another seed ("random" for one from the clock)
//	L4PROXY_CHAOS_COUNT=100000   more connections, over all engines and numbers of loops
//	L4PROXY_CHAOS_ONLY=123       one script of the seed, COUNT times
//	L4PROXY_CHAOS_WITHOUT=urgent,reset   without some plots
package chaos

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"l4proxy/internal/testenv"
	"l4proxy/internal/testnet"
)

// usual is the number of connections if the environment sets none.
const usual = 10000

// Settings from the environment.
var (
	seed    = number("SEED", 1)
	count   = number("COUNT", usual)
	only    = number("ONLY", 0)
	without = words("WITHOUT")
)

func number(name string, otherwise uint64) uint64 {
	text := os.Getenv("L4PROXY_CHAOS_" + name)
	if text == "random" {
		return uint64(time.Now().UnixNano()) % 1e9
	}
	if n, err := strconv.ParseUint(text, 10, 64); err == nil {
		return n
	}
	return otherwise
}

func words(name string) map[string]bool {
	m := map[string]bool{}
	for word := range strings.SplitSeq(os.Getenv("L4PROXY_CHAOS_"+name), ",") {
		m[word] = true
	}
	return m
}

// concurrent is the number of simultaneous connections, of random scripts and of stories.
const (
	concurrent        = 64
	concurrentStories = 20
)

// TestFaultChaos plays scripts with each engine, on one loop and on several.
func TestFaultChaos(t *testing.T) {
	testenv.NeedSuite(t, "faults")
	const most = 4
	if testing.Short() {
		count /= 4
	}
	t.Logf("seed %d, %d connections", seed, count)
	next := max(only, 1)
	for _, engine := range []string{"io_uring", "epoll"} {
		for loops := 1; loops <= most; loops++ {
			first := next
			if only == 0 {
				next += count / (2 * most)
			}
			t.Run(fmt.Sprintf("%s_%d", engine, loops), func(t *testing.T) {
				if engine == "io_uring" {
					testenv.NeedIOURing(t)
				}
				report := chaos(t, engine, loops, concurrent, func(i uint64) *script {
					if i >= count/(2*most) {
						return nil
					}
					if only != 0 {
						i = 0
					}
					return generate(seed, first+i, without)
				})
				report.print(t, fmt.Sprintf("L4PROXY_CHAOS_SEED=%d L4PROXY_CHAOS_ONLY=<script> L4PROXY_CHAOS_COUNT=8000", seed))
			})
		}
	}
}

// chaos plays the scripts that next returns, until nil, and then checks that the proxy has left
// nothing behind.
func chaos(t *testing.T, engine string, loops, concurrent int, next func(uint64) *script) *report {
	t.Helper()
	testnet.SameFiles(t)
	goroutines := runtime.NumGoroutine()
	slots := make([]*slot, concurrent)
	for i := range slots {
		slots[i] = newSlot(t, strconv.Itoa(i))
	}
	stop := startProxy(t, engine, loops, slots)
	report := new(report)
	var started atomic.Uint64
	var players sync.WaitGroup
	for _, s := range slots {
		players.Go(func() {
			for !report.hopeless() {
				i := started.Add(1) - 1
				script := next(i)
				if script == nil {
					return
				}
				report.add(s, script, i)
			}
		})
	}
	players.Wait()
	stop()
	for _, s := range slots {
		if n := s.leftovers(); n > 0 {
			t.Errorf("backends got %d connections that no client has made", n)
		}
	}
	if !testnet.Within(testnet.Patience, func() bool { return runtime.NumGoroutine() <= goroutines }) {
		t.Errorf("%d goroutines are left, there were %d before", runtime.NumGoroutine(), goroutines)
	}
	return report
}

// report collects what was wrong.
type report struct {
	mu     sync.Mutex
	kinds  map[string]int
	texts  []string // the first of each kind
	played int
	hung   int
}

// printed is the number of failures of a kind that are printed in full; hangs is the number of
// hangs that end the test.
const (
	printed = 3
	hangs   = 60
)

// add plays a script directly and through the proxy, and judges both.
func (r *report) add(s *slot, script *script, number uint64) {
	direct, families := s.direct(script, 2*number)
	faults := script.judge(&direct, families)
	r.note("directly: ", script, &direct, faults)
	if len(faults) > 0 {
		s.leftovers()
		return
	}
	proxied := s.through(script, 2*number+1)
	faults = script.judge(&proxied, script.families)
	if !proxied.hung && s.records != nil {
		faults = append(faults, script.judgeRecord(&proxied)...)
	}
	if len(faults) > 0 {
		s.leftovers()
	}
	r.note("", script, &proxied, faults)
}

func (r *report) note(how string, script *script, p *played, faults []fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.played++
	if len(faults) == 0 {
		return
	}
	if r.kinds == nil {
		r.kinds = map[string]int{}
	}
	if p.hung {
		r.hung++
	}
	text := script.String()
	first := false
	for _, f := range faults {
		r.kinds[how+f.kind]++
		first = first || r.kinds[how+f.kind] <= printed
		text += fmt.Sprintf("  %s%s: %s\n", how, f.kind, f.text)
	}
	for who, saw := range p.sides {
		text += fmt.Sprintf("  %sthe %s %v\n", how, sideNames[who], saw)
	}
	if p.record != nil {
		text += fmt.Sprintf("  the record says %v by the %v, %d bytes in, %d out\n", p.record.Reason, p.record.Side,
			p.record.BytesIn, p.record.BytesOut)
	}
	if first {
		r.texts = append(r.texts, text)
	}
}

// hopeless reports whether too many connections hang to continue.
func (r *report) hopeless() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hung > hangs
}

// print fails the test with the collected failures. again holds the variables that repeat it.
func (r *report) print(t *testing.T, again string) {
	t.Helper()
	for _, text := range r.texts {
		t.Error(text)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.kinds)) {
		t.Errorf("%s: %d of %d connections", kind, r.kinds[kind], r.played/2)
	}
	if len(r.texts) > 0 {
		t.Logf("to repeat: L4PROXY_SUITE=faults %s go test ./faults/chaos -count=1 -run '^%s$'", again,
			strings.ReplaceAll(t.Name(), "/", "$/^"))
	}
}
