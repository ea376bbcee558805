package bans

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// table is a set of bans by prefix. A published table never changes.
//
// bart.Table is a third smaller than bart.Fast, and its persistent changes copy less.
type table = bart.Table[*Ban]

// find returns the longest unexpired ban that contains an address; nil if there is none. It takes
// neither a lock nor memory.
func find(t *table, addr netip.Addr, now int64) *Ban {
	addr = addr.Unmap()
	if addr.Zone() != "" {
		addr = addr.WithZone("")
	}
	ban, ok := t.Lookup(addr)
	if !ok || !ban.expired(now) {
		return ban
	}
	// The longest one is over and not removed yet. A shorter one may still be in force.
	for bits := ban.prefix.Bits() - 1; bits >= 0; bits = ban.prefix.Bits() - 1 {
		_, ban, ok = t.LookupPrefixLPM(netip.PrefixFrom(addr, bits).Masked())
		if !ok || !ban.expired(now) {
			return ban
		}
	}
	return nil
}

// changer makes a table from another one. It copies the whole table if there are many changes, and
// otherwise a few nodes per change: a persistent change costs microseconds and kilobytes, a copy of
// a million bans a tenth of a second.
type changer struct {
	table *table
	owned bool // a copy that nothing else has seen
}

// copyShare is the share of a table from which on the whole is copied: about where both cost the
// same (BenchmarkBatches).
const copyShare = 32

func change(t *table, changes int) changer {
	switch {
	case t == nil:
		return changer{new(table), true}
	case changes > 1 && changes > t.Size()/copyShare:
		return changer{t.Clone(), true}
	}
	return changer{t, false}
}

func (c *changer) insert(b *Ban) {
	if c.owned {
		c.table.Insert(b.prefix, b)
		return
	}
	c.table = c.table.InsertPersist(b.prefix, b)
}

func (c *changer) remove(p netip.Prefix) {
	if c.owned {
		c.table.Delete(p)
		return
	}
	c.table = c.table.DeletePersist(p)
}

// result is the table to publish; nil for an empty one.
func (c *changer) result() *table {
	if c.table.Size() == 0 {
		return nil
	}
	return c.table
}
