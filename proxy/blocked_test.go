package proxy_test

import (
	"testing"

	"l4proxy/internal/testnet"
	"l4proxy/proxy"
)

// TestResetReachesPeerThatTakesNothing: one end sends more than fits and resets, while the other
// end only writes. The writer reads nothing of what was sent before, and still gets the reset, long
// before half_close ends.
func TestResetReachesPeerThatTakesNothing(t *testing.T) {
	enginesTogether(t, func(t *testing.T, engine string) {
		for i, first := range sides {
			t.Run(first.String(), func(t *testing.T) {
				t.Parallel()
				back := testnet.Listen(t, "tcp", "")
				r := start(t, engine, addresses(back), func(s *setup) { s.listener.HalfClose = testnet.Patience })
				ends := []testnet.Conn{r.dial(), back.Accept(t)}
				mine, other := ends[i], ends[1-i]
				failed := make(chan error, 1)
				go func() { failed <- testnet.Stream(1).Send(other, 1<<40, 65536) }()
				stuck := make(chan error, 1)
				go func() { stuck <- testnet.Stream(2).Send(mine, 1<<40, 65536) }()
				unchanged, last := 0, [2]int{}
				testnet.Eventually(t, "both directions are full", func() bool {
					now := [2]int{testnet.Unacknowledged(t, mine), testnet.Unacknowledged(t, other)}
					if unchanged++; now != last || now[0] == 0 || now[1] == 0 {
						unchanged = 0
					}
					last = now
					return unchanged > 50
				})
				if err := testnet.Reset(mine); err != nil {
					t.Fatal(err)
				}
				<-stuck
				if err := <-failed; !testnet.IsReset(err) {
					t.Errorf("the end that writes gets %v, want a reset", err)
				}
				if got := r.ended(1)[0].Outcome; !got.Is(first, proxy.ReasonReset) {
					t.Errorf("outcome = %v %v", got.Side, got.Reason)
				}
			})
		}
	})
}
