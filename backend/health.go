package backend

// Health is the result of the active checks of a backend.
type Health uint8

// The states of health. A backend that was not checked yet is unknown: it is used, but never shown
// as healthy.
const (
	HealthUnknown Health = iota
	HealthUp
	HealthDown
)

var healthNames = [...]string{HealthUnknown: "unknown", HealthUp: "up", HealthDown: "down"}

func (h Health) String() string { return healthNames[h] }

// Health returns the health by the last checks. Any goroutine may call it.
func (b *Backend) Health() Health { return Health(b.health.Load()) }

// SetHealth sets the health. It is called under the lock of the pool's balancer, which acts on it.
func (b *Backend) SetHealth(h Health) { b.health.Store(uint32(h)) }
