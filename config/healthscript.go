package config

import (
	"encoding/hex"
	"strings"
)

// script decodes the steps of a conversation.
func (d *decoder) script(n *node) []Step {
	if n.kind != kindList {
		fix := `write [{send: "PING\r\n"}, {receive: "+PONG"}]`
		if n.kind == kindMap {
			fix = "write it as a list, script: [{receive: ...}]"
		}
		d.expected(n, "a list of steps", fix)
		return nil
	}
	if len(n.items) > maxSteps {
		d.faultf(n, "write fewer", "the script has more than %d steps", maxSteps)
		return nil
	}
	steps := make([]Step, 0, len(n.items))
	receives := false
	for _, item := range n.items {
		before := d.count()
		f, _ := d.object(item, item, stepSection)
		send, receive := f["send"], f["receive"]
		if send == nil && receive == nil && d.count() > before {
			receives = true // it may have been meant to
			continue
		}
		receives = receives || receive != nil
		if (send == nil) == (receive == nil) {
			d.faultf(item, "write {send: ...} or {receive: ...}", "a step has either send or receive")
			continue
		}
		steps = append(steps, Step{Send: d.bytes(send), Receive: d.bytes(receive)})
	}
	if !receives {
		d.faultf(n, `add {receive: ...}, or write type: tcp`, "the script receives nothing, so that any server passes")
	}
	return steps
}

// bytes decodes a text or "hex:" and bytes in hexadecimal; nil for nil.
func (d *decoder) bytes(n *node) []byte {
	if n == nil {
		return nil
	}
	text, ok := d.text(n, `a text or "hex:..."`)
	if !ok {
		return nil
	}
	data, f := parseBytes(text)
	if f != nil {
		d.fault(n, f)
	}
	return data
}

func parseBytes(text string) ([]byte, *fault) {
	data := []byte(text)
	if digits, isHex := strings.CutPrefix(text, "hex:"); isHex {
		decoded, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			return nil, faultf(`write two digits for each byte, as in "hex:0d 0a"`, "%s is not hexadecimal", quote(text))
		}
		data = decoded
	} else if strings.Contains(text, `\r`) || strings.Contains(text, `\n`) {
		// YAML knows escapes only inside of double quotes.
		return nil, faultf(`put it in double quotes, as in "PING\r\n", or write it as "hex:..."`,
			"%s holds a backslash and a letter, not a line break", quote(text))
	}
	switch {
	case len(data) == 0:
		return nil, faultf(`write a text or "hex:..."`, "there is nothing in it")
	case len(data) > maxStepBytes:
		return nil, faultf("write less, or several steps", "more than %d bytes in one step", maxStepBytes)
	}
	return data, nil
}
