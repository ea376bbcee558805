package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	// MaxBansAtOnce is the most bans of one request.
	MaxBansAtOnce = 50_000
	// maxBanBody bounds the body of such a request, in bytes.
	maxBanBody = 8 << 20
	// OperatorSource is BanEntry.Source if none is given.
	OperatorSource = "operator"
)

// BanEntry asks for a ban.
type BanEntry struct {
	// Prefix is a prefix or a single address.
	Prefix Prefix `json:"prefix,omitzero"`
	// For is how long the ban lasts; without it, until it is removed.
	For *Duration `json:"for,omitempty"`
	// Reason is one line for people.
	Reason string `json:"reason,omitempty"`
	// With is what the client sees, as in deny rules; without it, what bans.with says.
	With string `json:"with,omitempty"`
	// Source is the feed that keeps the ban; without it, "operator". A ban of another source is
	// only replaced by one that lasts longer.
	Source string `json:"source,omitempty"`
}

// UnmarshalJSON refuses unknown keys.
func (e *BanEntry) UnmarshalJSON(text []byte) error {
	type plain BanEntry
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode((*plain)(e)); err != nil {
		if wrongType := new(json.UnmarshalTypeError); errors.As(err, &wrongType) {
			return errors.New(`bans: write a list of objects such as {"prefix": "203.0.113.0/24", "for": "1h"}`)
		}
		return fmt.Errorf("bans: %w", err)
	}
	return nil
}

// check reports what is wrong with it.
func (e *BanEntry) check() error {
	switch {
	case !e.Prefix.IsValid():
		return Invalid("a ban without a prefix", `add "prefix": "203.0.113.0/24"`)
	case e.For != nil && *e.For <= 0:
		return Invalid(fmt.Sprintf("the ban of %s lasts %s", e.Prefix, time.Duration(*e.For)), `write a duration such as "1h", or leave "for" out for a ban without an end`)
	}
	return nil
}

// BanRequest is the body of PUT /api/v1/bans: one ban, or a list of them.
type BanRequest struct {
	// Prefix, For, Reason, With and Source are those of the one ban. With a list, they must be
	// missing, but for Source, which is that of all.
	Prefix Prefix    `json:"prefix,omitzero"`
	For    *Duration `json:"for,omitempty"`
	Reason string    `json:"reason,omitempty"`
	With   string    `json:"with,omitempty"`
	Source string    `json:"source,omitempty"`
	// Bans are set together: all of them, or none. There are at most 50000.
	Bans []BanEntry `json:"bans,omitempty"`
	// Kill ends the live connections of the banned clients; without it, they stay open.
	Kill bool `json:"kill,omitempty"`
	// DryRun changes nothing, and reports what the ban would mean.
	DryRun bool `json:"dry_run,omitempty"`
	// Confirm must be true to ban all IPv4 or all IPv6 addresses.
	Confirm bool `json:"confirm,omitempty"`
}

// Entries are all bans of the request.
func (r *BanRequest) Entries() []BanEntry {
	if r.Bans == nil {
		return []BanEntry{{r.Prefix, r.For, r.Reason, r.With, r.Source}}
	}
	all := make([]BanEntry, len(r.Bans))
	for i, e := range r.Bans {
		if all[i] = e; e.Source == "" {
			all[i].Source = r.Source
		}
	}
	return all
}

// check reports what is wrong with it.
func (r *BanRequest) check() error {
	switch {
	case r.Bans != nil && (r.Prefix.IsValid() || r.For != nil || r.Reason != "" || r.With != ""):
		return Invalid(`"bans" and a single ban in one request`, "send one of them")
	case len(r.Bans) > MaxBansAtOnce:
		return Invalid(fmt.Sprintf("%d bans in one request", len(r.Bans)), fmt.Sprintf("send at most %d at a time", MaxBansAtOnce))
	case r.Bans != nil && len(r.Bans) == 0:
		return Invalid("the list of bans is empty", "add a ban")
	case r.Kill && len(r.Bans) > maxKilled:
		return Invalid(fmt.Sprintf(`"kill" with %d bans`, len(r.Bans)), fmt.Sprintf("send at most %d with it, or DELETE /api/v1/connections", maxKilled))
	}
	for _, e := range r.Entries() {
		if err := e.check(); err != nil {
			return err
		}
		if e.Prefix.Bits() == 0 && !r.Confirm && !r.DryRun {
			return Invalid(fmt.Sprintf("%s bans all clients of its family", e.Prefix), `add "confirm": true if that is meant`)
		}
	}
	return nil
}

// maxKilled is the most bans of a request that ends connections: each takes a walk over all of
// them.
const maxKilled = 100

// Banned is the answer of PUT /api/v1/bans.
type Banned struct {
	DryRun bool `json:"dry_run"`
	// Added are new, Replaced had a ban of the same prefix before. Kept had one of another source
	// that lasts longer, and keep it.
	Added    int `json:"added"`
	Replaced int `json:"replaced"`
	Kept     int `json:"kept"`
	// Total is how many bans there are now.
	Total int `json:"total"`
	// Connections are the live ones of the banned clients, Killed those of them that were ended.
	// They are only counted for a single ban, or with Kill.
	Connections int `json:"connections"`
	Killed      int `json:"killed"`
	// Survives is what the bans outlive: "reload", "upgrade", and "restart" if they are saved in a
	// file.
	Survives []string `json:"survives"`
	// Warnings are what an operator should know, such as that the own address is banned now.
	Warnings []string `json:"warnings"`
}

// UnbanRequest are the parameters of DELETE /api/v1/bans.
type UnbanRequest struct {
	// Prefix is that of a ban, exactly. Prefixes are those of several.
	Prefix   Prefix   `json:"prefix,omitzero"`
	Prefixes []Prefix `json:"prefixes,omitempty"`
	// Source selects only bans of this feed; alone, all of them.
	Source string `json:"source,omitempty"`
	// All must be true if nothing else selects.
	All bool `json:"all,omitempty"`
	// DryRun removes none.
	DryRun bool `json:"dry_run,omitempty"`
}

// check reports what is wrong with it.
func (r *UnbanRequest) check() error {
	selects := r.Prefix.IsValid() || r.Prefixes != nil
	switch {
	case !selects && r.Source == "" && !r.All:
		return Invalid("nothing selects the bans to remove", "write a prefix, prefixes, a source, or all=true for all bans")
	case r.All && (selects || r.Source != ""):
		return Invalid("all=true with something that selects", "remove one of them")
	case r.Prefix.IsValid() && r.Prefixes != nil:
		return Invalid(`"prefix" and "prefixes" in one request`, "send one of them")
	case r.Prefixes != nil && len(r.Prefixes) == 0:
		return Invalid("the list of prefixes is empty", "add a prefix")
	case len(r.Prefixes) > MaxBansAtOnce:
		return Invalid(fmt.Sprintf("%d prefixes in one request", len(r.Prefixes)), fmt.Sprintf("send at most %d at a time", MaxBansAtOnce))
	}
	for _, p := range r.Prefixes {
		if !p.IsValid() {
			return Invalid("an empty prefix", "remove it")
		}
	}
	return nil
}

// Unbanned is the answer of DELETE /api/v1/bans.
type Unbanned struct {
	DryRun  bool `json:"dry_run"`
	Removed int  `json:"removed"`
	// Total is how many bans there are now.
	Total    int      `json:"total"`
	Survives []string `json:"survives"`
}

// BanQuery are the parameters of GET /api/v1/bans.
type BanQuery struct {
	// From selects the bans that contain this address or prefix, or lie in it.
	From Prefix `json:"from,omitzero"`
	// Reason is a part of the reason, Source that of the feed.
	Reason string `json:"reason,omitempty"`
	Source string `json:"source,omitempty"`
	// Limit is the most bans in the answer; 0 is 100. It is 10000 at most.
	Limit int `json:"limit,omitempty"`
	// After is Next of the page before.
	After Prefix `json:"after,omitzero"`
}

// MaxBanLimit is the most bans of a page.
const MaxBanLimit = 10_000

// check reports what is wrong with it, and sets what is missing.
func (q *BanQuery) check() error {
	if q.Limit == 0 {
		q.Limit = DefaultLimit
	}
	if q.Limit < 0 || q.Limit > MaxBanLimit {
		return Invalid(fmt.Sprintf("the limit %d is not from 1 to %d", q.Limit, MaxBanLimit), "for more bans, ask for the next page: after is next of the page before")
	}
	return nil
}

// BanPage is the answer of GET /api/v1/bans, in the order of the prefixes.
type BanPage struct {
	// Total is the number of bans, Matched how many of them the filter selects, and Permanent how
	// many of these have no end.
	Total     int   `json:"total"`
	Matched   int   `json:"matched"`
	Permanent int   `json:"permanent"`
	Bans      []Ban `json:"bans"`
	// Next is After of the next page; "" if there is none.
	Next string `json:"next,omitempty"`
	// With is what a banned client sees if its ban does not say.
	With string `json:"with"`
	// File is where the bans are saved, Error why that fails.
	File     string   `json:"file,omitempty"`
	Error    string   `json:"error,omitempty"`
	Survives []string `json:"survives"`
}

// Ban is a banned prefix.
type Ban struct {
	Prefix Prefix `json:"prefix"`
	Reason string `json:"reason,omitempty"`
	Source string `json:"source"`
	// With is what the client sees.
	With  string    `json:"with"`
	Since time.Time `json:"since"`
	// Until and Left, in seconds, are absent for a ban without an end.
	Until *time.Time `json:"until,omitempty"`
	Left  float64    `json:"left,omitempty"`
}

// CheckWith reports what is wrong with the action of a ban. words are those that exist.
func CheckWith(with string, words []string) error {
	for _, w := range words {
		if w == with {
			return nil
		}
	}
	return Invalid("unknown action "+strconv.Quote(shorten(with)), "write "+strings.Join(words, ", "))
}

func (s *Server) listBans(c *call) (any, error) {
	var query BanQuery
	if err := c.decode(&query); err != nil {
		return nil, err
	}
	if err := query.check(); err != nil {
		return nil, err
	}
	if s.queries.Bans == nil {
		return nil, Unavailable("list bans")
	}
	return s.queries.Bans(c.ctx, query)
}

func (s *Server) ban(c *call) (any, error) {
	var request BanRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if s.commands.Ban == nil {
		return nil, Unavailable("ban clients")
	}
	return s.commands.Ban(c.ctx, client(c.r), request)
}

func (s *Server) unban(c *call) (any, error) {
	var request UnbanRequest
	if err := c.decode(&request); err != nil {
		return nil, err
	}
	if err := request.check(); err != nil {
		return nil, err
	}
	if s.commands.Unban == nil {
		return nil, Unavailable("ban clients")
	}
	return s.commands.Unban(c.ctx, client(c.r), request)
}
