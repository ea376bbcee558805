package backend

// Admin is what an operator has set a backend to.
type Admin uint8

// The states that an operator can set. A backend that is not up gets no new clients, whatever its
// health. AdminDown also does to its connections what the pool does when the checks find a backend
// down.
const (
	AdminUp Admin = iota
	AdminDrain
	AdminDown
)

var adminNames = [...]string{"up", "drain", "down"}

func (a Admin) String() string { return adminNames[a] }

// ParseAdmin reads the name of a state.
func ParseAdmin(name string) (a Admin, ok bool) {
	for i, known := range adminNames {
		if known == name {
			return Admin(i), true
		}
	}
	return 0, false
}

// Admin returns what the operator has set. Any goroutine may call it.
func (b *Backend) Admin() Admin { return Admin(b.admin.Load()) }

// SetAdmin sets it. Once the backend is in a pool, it is called under the lock of the pool's
// balancer, which acts on it.
func (b *Backend) SetAdmin(a Admin) { b.admin.Store(uint32(a)) }
