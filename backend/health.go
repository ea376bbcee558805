package backend

// Health is what active checks say about a backend.
type Health uint8

// The states of health. A backend that was not checked yet is unknown: it is
// used, but never shown as healthy.
const (
	HealthUnknown Health = iota
	HealthUp
	HealthDown
)

func (h Health) String() string { return [...]string{"unknown", "up", "down"}[h] }

// Health returns what the last checks have settled. Any goroutine may ask.
func (b *Backend) Health() Health { return Health(b.health.Load()) }

// SetHealth notes what checks have settled. It is called under the lock of the
// pool's balancer, which acts on it.
func (b *Backend) SetHealth(h Health) { b.health.Store(uint32(h)) }
