package proxy

import (
	"net/netip"
	"slices"

	"l4proxy/clienthello"
)

// MovedHello is what a moved connection's client has sent before it was connected, and what that
// said. The bytes are in Moved.Pending.
type MovedHello struct {
	// Phase is what is being read; see helloNames. It must be over at Deadline.
	Phase    string `json:"phase,omitempty"`
	Deadline int64  `json:"deadline,omitempty"`

	// ViaProxy: a PROXY protocol header has named the client. Peer is the address of the socket,
	// Destination the one that the client had connected to, TLVs the header's extensions.
	ViaProxy    bool           `json:"via_proxy,omitempty"`
	Peer        netip.AddrPort `json:"peer,omitzero"`
	Destination netip.AddrPort `json:"destination,omitzero"`
	TLVs        []byte         `json:"tlvs,omitempty"`

	// StartTLS: the client has asked for TLS and got yes. Plain: it has asked for other encryption
	// and got no.
	StartTLS bool `json:"starttls,omitempty"`
	Plain    bool `json:"plain,omitempty"`
	// Routed: these are from the client's first bytes.
	Routed     bool     `json:"routed,omitempty"`
	TLS        bool     `json:"tls,omitempty"`
	ServerName string   `json:"server_name,omitempty"`
	ALPN       []string `json:"alpn,omitempty"`

	// Own counts bytes at the start of Moved.Pending[0] that do not come from the client: what is
	// left of the PROXY protocol header for the backend.
	Own      int    `json:"own,omitempty"`
	UniqueID string `json:"unique_id,omitempty"` // as the backend has got it
}

// pack writes down what was read, except for the bytes.
func (h *hello) pack() *MovedHello {
	if h == nil {
		return nil
	}
	return &MovedHello{
		Phase: helloNames[h.phase], Deadline: h.deadline,
		ViaProxy: h.viaProxy, Peer: h.peer, Destination: h.destination, TLVs: h.tlvs,
		StartTLS: h.startTLS, Plain: h.plain,
		Routed: h.routed, TLS: h.hello.TLS, ServerName: h.hello.ServerName, ALPN: h.hello.ALPN,
		Own: h.own, UniqueID: h.uniqueID,
	}
}

// heard is the ClientHello by which the client was routed, nil if there is none.
func (m *Moved) heard() *clienthello.Hello {
	return m.Hello.unpack(0).heard()
}

// unnamed reports whether the client is still to be named by a PROXY protocol header, so that the
// limits of clients do not concern it yet.
func (m *Moved) unnamed() bool {
	return m.Header || m.Hello != nil && m.Hello.Phase == helloNames[helloHeader]
}

// unpack is the reverse of pack. A phase that this version does not know ends like one that takes
// too long, because nothing else would be right.
func (m *MovedHello) unpack(pending int) *hello {
	if m == nil {
		return nil
	}
	phase := helloPhase(max(slices.Index(helloNames[:], m.Phase), 0))
	if m.Phase != "" && phase == helloOver {
		phase = helloUnknown
	}
	return &hello{
		phase: phase, deadline: m.Deadline,
		viaProxy: m.ViaProxy, peer: m.Peer, destination: m.Destination, tlvs: m.TLVs,
		startTLS: m.StartTLS, plain: m.Plain,
		routed: m.Routed, hello: clienthello.Hello{TLS: m.TLS, ServerName: m.ServerName, ALPN: m.ALPN},
		own: min(max(m.Own, 0), pending), uniqueID: m.UniqueID,
	}
}
