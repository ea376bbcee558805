package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"l4proxy/acl"
	"l4proxy/admin"
	"l4proxy/bans"
	"l4proxy/config"
	"l4proxy/control"
	"l4proxy/proxy"
)

// openBans makes the bans of the process: those that the old process has sent, or those of the
// file.
func (p *process) openBans(from *takeover) {
	p.bans = bans.New(bans.Options{Log: p.log, Ended: p.bansEnded})
	p.bans.SetDefault(control.DenyAction(p.cfg.Bans.With))
	snapshot := from.bulk(stateBans)
	if snapshot == nil {
		p.openBansFile(p.cfg.Bans.File)
		return
	}
	if _, err := p.bans.TakeOver(snapshot); err != nil {
		p.log.Warn("upgrade: state of the old process ignored", "state", stateBans, "error", err.Error())
	}
}

// openBansFile reads a file of bans, and writes changes to it from now on; "" for none.
func (p *process) openBansFile(name string) {
	if name == "" {
		return
	}
	loaded, err := p.bans.Open(name)
	switch {
	case err != nil:
		p.log.Error("bans not loaded, and changes will not be saved", "file", name, "error", err.Error())
	case loaded.Damaged > 0:
		p.log.Error("bans file damaged: what could be read is in force", "file", name, "bans", loaded.Bans,
			"damaged_lines", loaded.Damaged, "first", loaded.FirstBad, "copy", name+".damaged")
	case loaded.Full:
		p.log.Error("bans file damaged: what could be read is in force", "file", name, "bans", loaded.Bans, "error", bans.ErrFull.Error())
	case loaded.Bans > 0:
		p.log.Info("bans loaded", "file", name, "bans", loaded.Bans, "expired", loaded.Expired)
	}
}

// savedBans are the changes since the bulk of bans.
type savedBans struct {
	Changes string `json:"changes,omitempty"`
}

// takeOverBans makes the last changes of the old process. From now on the file belongs to this one.
func (p *process) takeOverBans(t *takeover) {
	var saved savedBans
	if t.read(stateBans, &saved, p.log) {
		p.bans.Continue([]byte(saved.Changes), p.cfg.Bans.File)
	}
}

// bulk is an entry of the old process; nil if there is none.
func (t *takeover) bulk(name string) []byte {
	if t == nil {
		return nil
	}
	return t.session.Bulk(name)
}

// stageBans is the stage of the bans.
func (p *process) stageBans(running, next *config.Config) (commit, abort func(), err error) {
	return func() {
		p.bans.SetDefault(control.DenyAction(next.Bans.With))
		if running.Bans.File != next.Bans.File {
			p.bans.Close()
			p.openBansFile(next.Bans.File)
		}
	}, nil, nil
}

// bansEnded logs bans whose time is over.
func (p *process) bansEnded(n int, one *bans.Ban) {
	if n > 1 {
		p.log.Info("bans ended", "bans", n)
		return
	}
	p.log.Info("ban ended", "prefix", admin.Prefix{Prefix: one.Prefix()}.String(), "reason", one.Reason(), "source", one.Source())
}

// denyWords are the actions of a ban.
func denyWords() (words []string) {
	for a := acl.Action(0); ; a++ {
		if again, ok := bans.ParseAction(a.String()); !ok || again != a {
			return words
		}
		words = append(words, a.String())
	}
}

// adminBan sets bans.
func (p *process) adminBan(ctx context.Context, by string, q admin.BanRequest) (*admin.Banned, error) {
	asked := q.Entries()
	entries := make([]bans.Entry, len(asked))
	for i := range asked {
		e, err := banEntry(&asked[i])
		if err == nil {
			err = e.Check()
		}
		if refused := new(admin.Error); errors.As(err, &refused) {
			return nil, err
		} else if err != nil {
			return nil, admin.Invalid(fmt.Sprintf("the ban of %s: %s", asked[i].Prefix, err), "")
		}
		entries[i] = e
	}
	answer := &admin.Banned{DryRun: q.DryRun, Warnings: banWarnings(by, entries)}
	var out bans.Outcome
	if !q.DryRun {
		err := p.upgrades.change(func() (err error) {
			out, err = p.bans.Put(entries)
			return err
		})
		if err != nil {
			return nil, bansError(err)
		}
		p.logBanned(by, entries, out)
	}
	answer.Added, answer.Replaced, answer.Kept = out.Added, out.Replaced, out.Kept
	answer.Total = p.bans.Len()
	if err := p.killBanned(ctx, &q, entries, answer); err != nil {
		return nil, err
	}
	answer.Survives = p.bansSurvive(out, answer)
	return answer, nil
}

func banEntry(e *admin.BanEntry) (bans.Entry, error) {
	entry := bans.Entry{Prefix: e.Prefix.Prefix, Reason: e.Reason, Source: e.Source}
	if e.For != nil {
		entry.For = time.Duration(*e.For)
	}
	if entry.Source == "" {
		entry.Source = admin.OperatorSource
	}
	if e.With != "" {
		if err := admin.CheckWith(e.With, denyWords()); err != nil {
			return entry, err
		}
		a, _ := bans.ParseAction(e.With)
		entry.Action = &a
	}
	return entry, nil
}

// bansError is the answer to a change of bans that was not made.
func bansError(err error) error {
	switch {
	case errors.Is(err, errUpgrading), errors.Is(err, errHandedOver):
		return admin.Conflict(err.Error(), "try again in a second")
	case errors.Is(err, bans.ErrFull):
		return admin.Refused(err.Error(), "")
	}
	return admin.Invalid(err.Error(), "")
}

// logBanned logs bans with the address that asked for them: one line, however many there are.
func (p *process) logBanned(by string, entries []bans.Entry, out bans.Outcome) {
	args := []any{"client", by, "source", entries[0].Source, "added", out.Added, "replaced", out.Replaced, "kept", out.Kept}
	if len(entries) > 1 {
		p.log.Info("addresses banned", append(args, "bans", len(entries))...)
		return
	}
	e := &entries[0]
	duration := "until it is removed"
	if e.For > 0 {
		duration = e.For.String()
	}
	p.log.Info("address banned", append(args, "prefix", admin.Prefix{Prefix: bans.Canonical(e.Prefix)}.String(), "for", duration, "reason", e.Reason)...)
}

// killBanned counts the live connections of banned clients, and ends them if that is asked for.
func (p *process) killBanned(ctx context.Context, q *admin.BanRequest, entries []bans.Entry, answer *admin.Banned) error {
	if len(entries) > 1 && !q.Kill {
		return nil
	}
	for _, e := range entries {
		killed, err := p.adminKill(ctx, admin.KillRequest{
			ConnectionFilter: admin.ConnectionFilter{From: admin.Prefix{Prefix: bans.Canonical(e.Prefix)}}, DryRun: q.DryRun || !q.Kill,
		})
		if err != nil {
			return err
		}
		answer.Connections += killed.Matched
		answer.Killed += killed.Killed
	}
	return nil
}

// bansSurvive is what a change of bans outlives.
func (p *process) bansSurvive(out bans.Outcome, answer *admin.Banned) []string {
	if answer.DryRun {
		return p.bansWillSurvive()
	}
	saved, err := p.bans.Saved(out)
	if err != nil {
		answer.Warnings = append(answer.Warnings, "not saved: a restart loses this change: "+err.Error())
	}
	return survives(saved)
}

func survives(saved bool) []string {
	if saved {
		return []string{"reload", "upgrade", "restart"}
	}
	return slices.Clone(survivesUpgrade)
}

func (p *process) bansWillSurvive() []string {
	name, err := p.bans.File()
	return survives(name != "" && err == nil)
}

// banWarnings are about bans that an operator may not have meant.
func banWarnings(by string, entries []bans.Entry) []string {
	warnings := []string{}
	own, _ := netip.ParseAddrPort(by)
	loopback := []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.IPv6Loopback()}
	for i := range entries {
		prefix := bans.Canonical(entries[i].Prefix)
		shown := admin.Prefix{Prefix: prefix}.String()
		switch {
		case prefix.Bits() == 0:
			warnings = append(warnings, shown+" bans all clients of its family")
		case slices.ContainsFunc(loopback, prefix.Contains), loopbackNetwork.Overlaps(prefix):
			warnings = append(warnings, shown+" bans clients of this machine")
		case own.IsValid() && prefix.Contains(own.Addr().Unmap()):
			warnings = append(warnings, shown+" bans the address that this request comes from")
		}
		if len(warnings) == maxBanWarnings {
			break
		}
	}
	return warnings
}

var loopbackNetwork = netip.MustParsePrefix("127.0.0.0/8")

const maxBanWarnings = 10

// adminUnban removes bans.
func (p *process) adminUnban(_ context.Context, by string, q admin.UnbanRequest) (*admin.Unbanned, error) {
	var filter bans.Filter
	if q.Source != "" {
		filter.Source = &q.Source
	}
	for _, one := range q.Prefixes {
		filter.Prefixes = append(filter.Prefixes, one.Prefix)
	}
	if q.Prefix.IsValid() {
		filter.Prefixes = []netip.Prefix{q.Prefix.Prefix}
		b := p.bans.Get(q.Prefix.Prefix)
		if b == nil || q.Source != "" && b.Source() != q.Source {
			return nil, p.notBanned(q.Prefix.Prefix, b)
		}
	}
	answer := &admin.Unbanned{DryRun: q.DryRun, Survives: p.bansWillSurvive()}
	if q.DryRun {
		answer.Removed, answer.Total = p.bans.Count(filter), p.bans.Len()
		return answer, nil
	}
	var out bans.Outcome
	err := p.upgrades.change(func() error {
		out = p.bans.Remove(filter)
		return nil
	})
	if err != nil {
		return nil, bansError(err)
	}
	if out.Removed > 0 {
		p.logUnbanned(by, &q, out.Removed)
	}
	answer.Removed, answer.Total = out.Removed, p.bans.Len()
	saved, _ := p.bans.Saved(out) // the log says why not
	answer.Survives = survives(saved)
	return answer, nil
}

// notBanned is the answer about a prefix that has no ban of its own. other is one of another
// source.
func (p *process) notBanned(prefix netip.Prefix, other *bans.Ban) error {
	shown := admin.Prefix{Prefix: bans.Canonical(prefix)}.String()
	if other != nil {
		return admin.NotFound("no such ban: "+shown+" is banned by the source "+strconv.Quote(other.Source()), "name that source, or leave it out")
	}
	page := p.bans.List(bans.Query{Near: prefix, Limit: 1})
	hint := "l4proxy bans lists the bans"
	if page.Matched > 0 {
		hint = fmt.Sprintf("name the prefix exactly: %s is banned", admin.Prefix{Prefix: page.Bans[0].Prefix()})
	}
	return admin.NotFound("no such ban: "+shown, hint)
}

func (p *process) logUnbanned(by string, q *admin.UnbanRequest, removed int) {
	if q.Prefix.IsValid() {
		p.log.Info("ban removed", "client", by, "prefix", admin.Prefix{Prefix: bans.Canonical(q.Prefix.Prefix)}.String())
		return
	}
	p.log.Info("bans removed", "client", by, "bans", removed, "source", q.Source)
}

// adminBans lists bans.
func (p *process) adminBans(_ context.Context, q admin.BanQuery) (*admin.BanPage, error) {
	query := bans.Query{Near: q.From.Prefix, Reason: q.Reason, After: q.After.Prefix, Limit: q.Limit}
	if q.Source != "" {
		query.Source = &q.Source
	}
	page := p.bans.List(query)
	name, err := p.bans.File()
	answer := &admin.BanPage{
		Total: page.Total, Matched: page.Matched, Permanent: page.Permanent, Bans: make([]admin.Ban, 0, len(page.Bans)),
		With: p.bans.Default().String(), File: name, Survives: p.bansWillSurvive(),
	}
	if err != nil {
		answer.Error = err.Error()
	}
	now, wall := p.bans.Now(), time.Now()
	for _, b := range page.Bans {
		answer.Bans = append(answer.Bans, *shownBan(b, p.bans.ActionOf(b), b.Left(now), b.Age(now), wall))
	}
	if page.More {
		answer.Next = answer.Bans[len(answer.Bans)-1].Prefix.Prefix.String()
	}
	return answer, nil
}

func shownBan(b *bans.Ban, with acl.Action, left, age time.Duration, now time.Time) *admin.Ban {
	shown := &admin.Ban{
		Prefix: admin.Prefix{Prefix: b.Prefix()}, Reason: b.Reason(), Source: b.Source(), With: with.String(),
		Since: now.Add(-age).UTC().Truncate(time.Second),
	}
	if left > 0 {
		until := now.Add(left).UTC().Truncate(time.Second)
		shown.Until, shown.Left = &until, left.Round(time.Millisecond).Seconds()
	}
	return shown
}

// banText is the ban of an explained client in words.
func banText(e *proxy.Explanation) string {
	text := fmt.Sprintf("ban: %s is in %s, banned ", e.Client, admin.Prefix{Prefix: e.Ban.Prefix()})
	if e.BanLeft > 0 {
		text += "for " + ago(e.BanLeft) + " more"
	} else {
		text += "without an end"
	}
	if reason := e.Ban.Reason(); reason != "" {
		text += ": " + reason
	}
	return text
}
