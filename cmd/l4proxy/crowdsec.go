package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"l4proxy/admin"
	"l4proxy/bans"
)

// crowdsec is the local API of CrowdSec, as a bouncer sees it
// (https://docs.crowdsec.net/docs/local_api/bouncers/).
type crowdsec struct {
	url  *url.URL
	key  string
	http http.Client
}

const (
	crowdsecTimeout = time.Minute // for all decisions of a start
	crowdsecMost    = 512 << 20   // bytes of an answer
)

func newCrowdsec(address, key string) (*crowdsec, error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" {
		return nil, fmt.Errorf("%q is not the URL of a CrowdSec API: write http://127.0.0.1:8080", address)
	}
	return &crowdsec{url: u, key: key, http: http.Client{
		Timeout: crowdsecTimeout,
		// The key is for this address only.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

// decision is one of the fields that matter here.
type decision struct {
	Type     string `json:"type"`
	Scope    string `json:"scope"`
	Value    string `json:"value"`
	Duration string `json:"duration"`
	Scenario string `json:"scenario"`
}

// decisions are what has changed since the last request.
type decisions struct {
	New     []decision `json:"new"`
	Deleted []decision `json:"deleted"`
}

// stream asks for what has changed, or for all decisions in force.
func (c *crowdsec) stream(ctx context.Context, startup bool) (*decisions, error) {
	u := c.url.JoinPath("/v1/decisions/stream")
	u.RawQuery = fmt.Sprintf("startup=%v&scopes=ip,range", startup)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("X-Api-Key", c.key)
	request.Header.Set("User-Agent", "l4proxy/"+version)
	answer, err := c.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("CrowdSec: %w", err)
	}
	defer answer.Body.Close()
	switch answer.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("CrowdSec refuses the key (%s): make one with 'cscli bouncers add l4proxy'", answer.Status)
	default:
		return nil, fmt.Errorf("CrowdSec answered %s", answer.Status)
	}
	d := new(decisions)
	if err := json.NewDecoder(io.LimitReader(answer.Body, crowdsecMost)).Decode(d); err != nil {
		return nil, fmt.Errorf("CrowdSec: its answer cannot be read: %w", err)
	}
	return d, nil
}

// crowdsecSource is the source of the bans.
const crowdsecSource = "crowdsec"

// prefix is what a decision is about. ok is false for one that bans no address.
func (d *decision) prefix() (p admin.Prefix, ok bool) {
	if !strings.EqualFold(d.Type, "ban") || !strings.EqualFold(d.Scope, "ip") && !strings.EqualFold(d.Scope, "range") {
		return p, false
	}
	p, err := admin.ParsePrefix(d.Value)
	if err != nil {
		return p, false
	}
	p.Prefix = bans.Canonical(p.Prefix)
	return p, p.Bits() > 0 // a feed never bans everyone
}

// ban is the ban for a decision. ok is false for one that bans no address, or is over.
func (d *decision) ban() (e admin.BanEntry, ok bool) {
	p, ok := d.prefix()
	duration, err := time.ParseDuration(d.Duration)
	if !ok || err != nil || duration < time.Millisecond {
		return e, false
	}
	e = admin.BanEntry{Prefix: p, For: new(admin.Duration(min(duration, bans.Longest))), Reason: bans.CleanText(d.Scenario, bans.MaxReason)}
	return e, (&bans.Entry{Prefix: p.Prefix}).Check() == nil
}

// banList are the bans of some decisions: of several about one prefix, the longest. others is how
// many decisions are about something else.
func banList(all []decision) (byPrefix map[netip.Prefix]admin.BanEntry, others int) {
	byPrefix = make(map[netip.Prefix]admin.BanEntry, len(all))
	for i := range all {
		e, ok := all[i].ban()
		if !ok {
			others++
			continue
		}
		if before, known := byPrefix[e.Prefix.Prefix]; !known || *before.For < *e.For {
			byPrefix[e.Prefix.Prefix] = e
		}
	}
	return byPrefix, others
}
