package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// SendProxy is the PROXY protocol header that the backends of a pool get.
type SendProxy struct {
	Version ProxyVersion
	// PassTLVs passes on the extensions of the header that a client's peer has sent.
	PassTLVs bool
	// Authority, ALPN and UniqueID add the extensions of these names.
	Authority, ALPN, UniqueID bool
	// TLVs are further extensions, by ascending types.
	TLVs []TLV
}

// TLV is an extension of a PROXY protocol header.
type TLV struct {
	Type  uint8
	Value string
}

// ProxyVersion is a version of the PROXY protocol.
type ProxyVersion uint8

// The versions.
const (
	ProxyV2 ProxyVersion = iota
	ProxyV1
)

var proxyVersions = &words[ProxyVersion]{what: "version of the PROXY protocol", list: []word[ProxyVersion]{
	{"v1", ProxyV1}, {"v2", ProxyV2},
}, instead: map[string]string{"1": "write v1", "2": "write v2", "true": "write v2"}}

func (v ProxyVersion) String() string { return proxyVersions.text(v) }

func (s *SendProxy) fields() fields {
	return fields{
		{"version", enum(&s.Version, proxyVersions, ProxyV2), "The version of the header: `v1` is a line of text, `v2` is binary and may carry extensions. The other keys are for `v2`."},
		{"pass_tlvs", boolean(&s.PassTLVs, false), "Pass on the extensions (TLVs) that came in the header from the client's side, such as the id of a cloud provider's endpoint. Requires `proxy_protocol` in a listener."},
		{"authority", boolean(&s.Authority, false), "Add the server name that the client asks for (SNI), from its ClientHello if the listener has `routes`, otherwise from the header that came."},
		{"alpn", boolean(&s.ALPN, false), "Add the first protocol that the client offers (ALPN), from the same sources."},
		{"unique_id", boolean(&s.UniqueID, false), "Add an id of the connection: the one from the header that came, otherwise a new one. The log line of the connection has it as `unique_id`."},
		{"tlvs", tlvs{&s.TLVs}, "More extensions of fixed text, by type: `{0xE0: \"eu-west\"}`. Types are 0xE0 to 0xEF, which are reserved for applications."},
	}
}

func sendProxy(s *SendProxy) value { return shorthand[*SendProxy]{structureOf(s)} }

const (
	minTLV, maxTLV = 0xE0, 0xEF // PP2_TYPE_MIN_CUSTOM and PP2_TYPE_MAX_CUSTOM
	maxTLVText     = 255
)

// tlvs is a mapping from types to texts.
type tlvs struct{ dst *[]TLV }

func (v tlvs) reset()        { *v.dst = nil }
func (v tlvs) shown() string { return "" }

func (v tlvs) decode(d *decoder, n *node, p *path) {
	const example = `write {0xE0: "text"}`
	if n.kind != kindMap {
		d.expected(n, p, "a mapping from types to texts", example)
		return
	}
	if len(n.members) == 0 {
		d.faultf(n, p, example, "there is no type")
	}
	seen := make(map[uint64]bool)
	for _, m := range n.members {
		p := p.child(m.key)
		kind, err := strconv.ParseUint(m.key, 0, 8)
		switch {
		case err != nil || kind < minTLV || kind > maxTLV:
			d.faultf(m.keyNode(), p, "write a type from 0xE0 to 0xEF", "%s is not a type of a TLV that applications may choose", quote(m.key))
			continue
		case seen[kind]:
			d.faultf(m.keyNode(), p, "keep one of them", "the type %#X is repeated", kind)
			continue
		}
		seen[kind] = true
		tlv := TLV{Type: uint8(kind)}
		text(&tlv.Value, "a string").max(maxTLVText).full("write a text, or remove it").decode(d, m.value, p)
		*v.dst = append(*v.dst, tlv)
	}
	slices.SortFunc(*v.dst, func(a, b TLV) int { return cmp.Compare(a.Type, b.Type) })
}

func (v tlvs) check(c *checker, p *path) {
	for _, tlv := range *v.dst {
		c.refuse(tlv.Type < minTLV || tlv.Type > maxTLV || len(tlv.Value) > maxTLVText, p.child(tlv.name()),
			"write a type from 0xE0 to 0xEF, and a text of up to 255 bytes", "bad TLV")
	}
}

func (v tlvs) schema() schema {
	return schema{
		"type": "object", "minProperties": 1, "additionalProperties": schema{"type": "string", "pattern": "."},
		"propertyNames": schema{"pattern": `^(0[xX][eE][0-9a-fA-F]|22[4-9]|23[0-9])$`},
	}
}

func (t TLV) name() string { return fmt.Sprintf("%#X", t.Type) }

func (v tlvs) plain() any {
	if *v.dst == nil {
		return nil
	}
	texts := make(map[string]string)
	for _, tlv := range *v.dst {
		texts[tlv.name()] = strings.ReplaceAll(tlv.Value, "${", "$${")
	}
	return texts
}

func (v tlvs) current() string {
	if *v.dst == nil {
		return ""
	}
	var texts []string
	for _, tlv := range *v.dst {
		texts = append(texts, fmt.Sprintf("%s: %q", tlv.name(), tlv.Value))
	}
	return "{" + strings.Join(texts, ", ") + "}"
}

// sendProxy checks the settings of a header that need another one.
func (c *checker) sendProxy(p *Pool, at *path) {
	s := p.SendProxy
	if s == nil || !c.clear(at, "version") {
		return
	}
	const fix, what = "write version: v2, or remove it", "%s has no effect with version v1, which has no extensions"
	for _, key := range []struct {
		name string
		set  bool
	}{{"pass_tlvs", s.PassTLVs}, {"authority", s.Authority}, {"alpn", s.ALPN}, {"unique_id", s.UniqueID}, {"tlvs", s.TLVs != nil}} {
		c.refuse(s.Version == ProxyV1 && key.set, at.child(key.name), fix, what, key.name)
	}
}

// idleExtensions finds the extensions that no connection could have, because nothing that they are
// taken from is read.
func (c *checker) idleExtensions() {
	headers, hellos := make(map[string]bool), make(map[string]bool)
	for i := range c.c.Listeners {
		l := &c.c.Listeners[i]
		for _, pool := range l.PoolNames() {
			headers[pool] = headers[pool] || l.ProxyProtocol != nil
			hellos[pool] = hellos[pool] || l.readsHello()
		}
	}
	for i := range c.c.Pools {
		p := &c.c.Pools[i]
		if p.SendProxy == nil || p.SendProxy.Version == ProxyV1 {
			continue
		}
		at, s := newPath("pools", p.Name, "send_proxy"), p.SendProxy
		c.refuse(s.PassTLVs && !headers[p.Name], at.child("pass_tlvs"), "write proxy_protocol there, or remove it",
			"pass_tlvs has no effect: no listener of the pool %s has proxy_protocol", quote(p.Name))
		const fix, what = "write one of them there, or remove it", "%s has no effect: no listener of the pool %s has routes or proxy_protocol"
		read := headers[p.Name] || hellos[p.Name]
		c.refuse(s.Authority && !read, at.child("authority"), fix, what, "authority", quote(p.Name))
		c.refuse(s.ALPN && !read, at.child("alpn"), fix, what, "alpn", quote(p.Name))
	}
}
