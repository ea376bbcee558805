package control

import (
	"l4proxy/acl"
	"l4proxy/config"
	"l4proxy/proxy"
	"l4proxy/proxyproto"
)

// proxyFrom are the peers that have to send a PROXY protocol header.
func (s Lists) proxyFrom(p *config.ProxyProtocol) *proxy.ProxyFrom {
	if p == nil {
		return nil
	}
	rule := acl.Rule{Allow: true, Prefixes: p.Prefixes}
	for _, l := range p.Lists {
		rule.Sets = append(rule.Sets, s.of(l))
	}
	return &proxy.ProxyFrom{Networks: acl.Build([]acl.Rule{rule}, false), Unix: p.Unix}
}

var startTLS = map[config.StartTLS]proxy.StartTLS{
	config.StartTLSOff: proxy.StartTLSNone, config.StartTLSPostgres: proxy.StartTLSPostgres,
}

var proxyVersions = map[config.ProxyVersion]int{config.ProxyV1: 1, config.ProxyV2: 2}

// sendProxy is the PROXY protocol header for the backends of a pool.
func sendProxy(s *config.SendProxy) *proxy.SendProxy {
	if s == nil {
		return nil
	}
	p := &proxy.SendProxy{
		Version: proxyVersions[s.Version], PassTLVs: s.PassTLVs, Authority: s.Authority, ALPN: s.ALPN, UniqueID: s.UniqueID,
	}
	for _, tlv := range s.TLVs {
		p.TLVs = proxyproto.AppendTLV(p.TLVs, tlv.Type, tlv.Value)
	}
	return p
}

// checkHeader is what a health check of a pool sends first: a header that says that the proxy has
// opened the connection for itself. Checks on a port of their own get none: it is that of another
// service.
func checkHeader(p *config.Pool) []byte {
	if p.SendProxy == nil || p.Health.Port != 0 {
		return nil
	}
	return proxyproto.Append(nil, proxyproto.Header{Version: proxyVersions[p.SendProxy.Version], Local: true})
}
