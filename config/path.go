package config

import (
	"fmt"
	"strconv"
	"strings"
)

// path says where in a configuration a value is: the keys and positions on the way to it, last
// first. nil is the whole configuration. It becomes a text only for a fault.
type path struct {
	up    *path
	key   string
	index int // of an item; -1 for a key
}

func (p *path) item(index int) *path { return &path{p, "", index} }

func (p *path) child(key string) *path {
	if p == simpleRoot {
		if full := simplePaths[key]; full != nil {
			return full
		}
		p = nil
	}
	return &path{p, key, -1}
}

func newPath(steps ...any) (p *path) {
	for _, step := range steps {
		switch step := step.(type) {
		case string:
			p = &path{p, step, -1}
		case int:
			p = &path{p, "", step}
		}
	}
	return p
}

// last is the last key, without positions in a list.
func (p *path) last() string {
	for p != nil && p.index >= 0 {
		p = p.up
	}
	if p == nil {
		return ""
	}
	return p.key
}

// short is the path from below the name of a listener or a pool.
func (p *path) short() string {
	all := steps(p.String())
	if len(all) > 2 && (all[0] == "listeners" || all[0] == "pools") {
		all = all[2:]
	}
	return strings.Join(all, ".")
}

// String returns the path as in listeners.web.acl[1].allow[0]. A name that would be ambiguous is in
// quotes.
func (p *path) String() string {
	switch {
	case p == nil || p == simpleRoot:
		return ""
	case p.index >= 0:
		return fmt.Sprintf("%s[%d]", p.up, p.index)
	}
	key := p.key
	if key == "" || strings.ContainsAny(key, `."[]`) {
		key = strconv.Quote(key)
	}
	if p.up == nil {
		return key
	}
	return p.up.String() + "." + key
}

// Path joins keys (strings) and positions in lists (ints) to the path of a value, as in
// Path("pools", "web", "backends", 0).
func Path(steps ...any) string { return newPath(steps...).String() }

// steps splits a path into what String joined: keys, and positions as "[2]".
func steps(text string) []string {
	var steps []string
	for text != "" {
		step := text
		switch text[0] {
		case '"':
			quoted, _ := strconv.QuotedPrefix(text)
			step, _ = strconv.Unquote(quoted)
			text = text[max(len(quoted), 1):]
		case '[':
			if end := strings.IndexByte(text, ']'); end >= 0 {
				step = text[:end+1]
			}
			text = text[len(step):]
		default:
			if end := strings.IndexAny(text, ".["); end >= 0 {
				step = text[:end]
			}
			text = text[len(step):]
		}
		text = strings.TrimPrefix(text, ".")
		steps = append(steps, step)
	}
	return steps
}
