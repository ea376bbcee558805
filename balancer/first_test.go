package balancer

import "testing"

// TestFirstFillsInOrder takes out each backend that has two connections, as a pool does with those
// that are full.
func TestFirstFillsInOrder(t *testing.T) {
	c := newTable("first", chooserOptions{}, newMembers(1, 9, 1))
	for k, want := range []int{0, 0, 1, 1, 2, 2, -1} {
		i := c.open(request{})
		if i != want {
			t.Fatalf("connection %d went to %d, want %d", k, i, want)
		}
		if i >= 0 && c.backends[i].Active() == 2 {
			c.setAvailable(i, false)
		}
	}
	c.close(1)
	c.setAvailable(1, true)
	c.close(0)
	c.setAvailable(0, true)
	if i := c.next(request{}); i != 0 {
		t.Errorf("%d is next, want the first that can take one again", i)
	}
	if i := c.next(request{tried: []int{0}}); i != 1 {
		t.Errorf("%d is next for one that has tried the first, want 1", i)
	}
}
