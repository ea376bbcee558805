package clientlimit

// counts is a hash table of the clients that have connections: open addressing with linear probing.
// It grows and shrinks with the number of clients.
type counts struct {
	entries []count // a power of two; those without connections are free
	used    int
}

// count is the number of connections of a client.
type count struct {
	key  key
	hash uint32 // of the key: the bits that choose an entry
	n    uint32
}

// minCounts is the least size of a table that is not empty.
const minCounts = 8

// start is where the search for a key begins. The upper bits of the hash have chosen the shard.
func start(h uint64) uint32 { return uint32(h >> 16) }

// find returns the entry of a key, or the free one where it belongs. There is always a free one.
func (t *counts) find(k key, at uint32) uint32 {
	mask := uint32(len(t.entries) - 1)
	for i := at & mask; ; i = (i + 1) & mask {
		if e := &t.entries[i]; e.n == 0 || e.key == k {
			return i
		}
	}
}

// of is the number of connections of a client.
func (t *counts) of(k key, h uint64) uint32 {
	if t.used == 0 {
		return 0
	}
	return t.entries[t.find(k, start(h))].n
}

// add counts a connection. It reports whether that is the client's first one.
func (t *counts) add(k key, h uint64) (first bool) {
	if 4*(t.used+1) > 3*len(t.entries) {
		t.resize(max(minCounts, 2*len(t.entries)))
	}
	e := &t.entries[t.find(k, start(h))]
	if e.n++; e.n > 1 {
		return false
	}
	e.key, e.hash = k, start(h)
	t.used++
	return true
}

// remove takes back one add. It reports whether that was the client's last connection.
func (t *counts) remove(k key, h uint64) (last bool) {
	if t.of(k, h) == 0 {
		panic("clientlimit: Release without Take")
	}
	i := t.find(k, start(h))
	if t.entries[i].n--; t.entries[i].n > 0 {
		return false
	}
	t.free(i)
	t.used--
	if n := len(t.entries); n > minCounts && 8*t.used < n {
		t.resize(n / 2)
	}
	return true
}

// free frees an entry. Entries after it move back, so that a search never ends before it has
// reached its key (Knuth, The Art of Computer Programming, vol. 3, 6.4, algorithm R).
func (t *counts) free(i uint32) {
	mask := uint32(len(t.entries) - 1)
	for j := i; ; {
		j = (j + 1) & mask
		e := t.entries[j]
		if e.n == 0 {
			break
		}
		if (j-e.hash)&mask >= (j-i)&mask { // its search passes i
			t.entries[i] = e
			i = j
		}
	}
	t.entries[i] = count{}
}

func (t *counts) resize(n int) {
	old := t.entries
	t.entries = make([]count, n)
	for i := range old {
		if e := old[i]; e.n > 0 {
			t.entries[t.find(e.key, e.hash)] = e
		}
	}
}
