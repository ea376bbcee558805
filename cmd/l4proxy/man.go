package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// manual writes a page in the mdoc(7) language, which groff and mandoc read.
type manual struct{ strings.Builder }

// manName is the name of the page of a command.
func manName(cmd *cobra.Command) string { return strings.ReplaceAll(cmd.CommandPath(), " ", "-") }

// manPage is the page of a command.
func manPage(cmd *cobra.Command, date time.Time) string {
	m := new(manual)
	m.macro("Dd", date.Format("January 2, 2006"))
	m.macro("Dt", strings.ToUpper(manName(cmd)), "1")
	m.macro("Os", "l4proxy "+version)
	m.section("NAME")
	m.macro("Nm", manName(cmd))
	m.macro("Nd", lowerFirst(cmd.Short))
	m.synopsis(cmd)
	m.section("DESCRIPTION")
	m.prose(cmd.Long)
	if !cmd.HasParent() {
		m.commands(cmd)
	}
	m.options(cmd)
	m.environment(cmd)
	m.files(cmd)
	m.section("EXIT STATUS")
	m.list([][2]string{
		{"0", "The command did what it was asked to."},
		{"1", "The configuration has a problem, or the command failed. Standard error says why."},
		{"2", "Wrong usage."},
	})
	if cmd.Example != "" {
		m.section("EXAMPLES")
		m.literal(cmd.Example)
	}
	m.seeAlso(cmd)
	return m.String()
}

// macro writes a macro line. Arguments are quoted where mdoc would take them apart.
func (m *manual) macro(name string, args ...string) {
	m.WriteString("." + name)
	for _, a := range args {
		a = escape(a)
		if strings.ContainsAny(a, " \t") || isMacro(a) {
			a = `"` + strings.ReplaceAll(a, `"`, `\(dq`) + `"`
		}
		m.WriteString(" " + a)
	}
	m.WriteString("\n")
}

// isMacro reports whether mdoc would call an argument, or take it for punctuation.
func isMacro(a string) bool {
	return len(a) <= 2 && !strings.ContainsFunc(a, func(r rune) bool { return r >= '0' && r <= '9' })
}

func (m *manual) section(title string) { m.WriteString(".Sh " + title + "\n") }

// prose writes paragraphs. Lines that are indented, such as a list or a command, stay as they are.
func (m *manual) prose(text string) {
	paragraph, verbatim := false, []string(nil)
	flush := func() {
		if len(verbatim) > 0 {
			m.literal(strings.Join(verbatim, "\n"))
			verbatim = nil
		}
	}
	for line := range strings.SplitSeq(strings.TrimSpace(text), "\n") {
		switch {
		case strings.HasPrefix(line, "  "):
			verbatim = append(verbatim, line)
			continue
		case line == "":
			flush()
			paragraph = true
			continue
		}
		flush()
		if paragraph {
			m.macro("Pp")
			paragraph = false
		}
		m.text(line)
	}
	flush()
}

// text writes lines of prose, each sentence on its own, as mdoc wants it.
func (m *manual) text(line string) {
	for _, sentence := range sentences(line) {
		m.WriteString(guard(escape(sentence)) + "\n")
	}
}

// sentences splits a text at the ends of sentences.
func sentences(text string) (all []string) {
	for {
		i := strings.Index(text, ". ")
		if i < 0 {
			return append(all, text)
		}
		all, text = append(all, text[:i+1]), strings.TrimSpace(text[i+2:])
	}
}

// literal writes lines as they are, without their common indentation.
func (m *manual) literal(text string) {
	m.WriteString(".Bd -literal -offset indent\n")
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		line = escape(strings.TrimPrefix(line, "  "))
		m.WriteString(guard(line) + "\n")
	}
	m.WriteString(".Ed\n")
}

// list writes terms with their meanings.
func (m *manual) list(items [][2]string) {
	m.WriteString(".Bl -tag -width Ds\n")
	for _, item := range items {
		m.macro("It", item[0])
		m.text(item[1])
	}
	m.WriteString(".El\n")
}

// escape writes a backslash as itself. A hyphen in a literal is a minus, which can be copied into a
// shell.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
}

// guard keeps a line of text from being a macro.
func guard(line string) string {
	if strings.HasPrefix(line, ".") || strings.HasPrefix(line, "'") {
		return `\&` + line
	}
	return line
}

func lowerFirst(text string) string {
	if len(text) > 1 && text[1] >= 'a' && text[1] <= 'z' || strings.HasPrefix(text, "A ") {
		return strings.ToLower(text[:1]) + text[1:]
	}
	return text
}

func (m *manual) synopsis(cmd *cobra.Command) {
	m.section("SYNOPSIS")
	m.macro("Nm", cmd.CommandPath())
	eachFlag(cmd, func(f *pflag.Flag) {
		m.WriteString(".Op " + flagText(f, false) + "\n")
	})
	_, operands, _ := strings.Cut(cmd.Use, " ")
	if !cmd.HasParent() {
		operands = "[command]"
	}
	for word := range strings.FieldsSeq(operands) {
		name := escape(strings.ToLower(strings.Trim(word, "[]")))
		if strings.HasPrefix(word, "[") {
			m.WriteString(".Op Ar " + name + "\n")
			continue
		}
		m.WriteString(".Ar " + name + "\n")
	}
}

// eachFlag visits the flags of a command by name.
func eachFlag(cmd *cobra.Command, visit func(*pflag.Flag)) {
	cmd.InitDefaultHelpFlag()
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			visit(f)
		}
	})
}

// flagText is a flag with its argument, in macros; its short form too, if that is wanted.
func flagText(f *pflag.Flag, short bool) string {
	text := `Fl \-` + escape(f.Name)
	if f.Shorthand != "" && short {
		text = "Fl " + f.Shorthand + " , " + text
	}
	name, _ := pflag.UnquoteUsage(f)
	name = escape(strings.ToLower(name))
	switch {
	case name == "" || f.Value.Type() == "bool":
		return text
	case f.NoOptDefVal != "":
		return text + " Ns Op = Ns Ar " + name
	}
	return text + " Ar " + name
}

func (m *manual) options(cmd *cobra.Command) {
	m.section("OPTIONS")
	m.WriteString(".Bl -tag -width Ds\n")
	eachFlag(cmd, func(f *pflag.Flag) {
		m.WriteString(".It " + flagText(f, true) + "\n")
		_, usage := pflag.UnquoteUsage(f)
		usage = strings.ToUpper(usage[:1]) + usage[1:]
		if shownDefault(f) {
			usage += " (default " + f.DefValue + ")"
		}
		m.text(usage + ".")
	})
	m.WriteString(".El\n")
}

// shownDefault reports whether a flag's default says something.
func shownDefault(f *pflag.Flag) bool {
	return !slices.Contains([]string{"", "false", "0", "0s", "[]"}, f.DefValue) && f.NoOptDefVal == ""
}

func (m *manual) commands(root *cobra.Command) {
	for _, g := range groups {
		m.macro("Ss", strings.TrimSuffix(g.title, ":"))
		m.WriteString(".Bl -tag -width Ds\n")
		for _, cmd := range root.Commands() {
			if cmd.GroupID == g.title && cmd.IsAvailableCommand() {
				m.WriteString(".It Ic " + cmd.Name() + "\n")
				m.text(cmd.Short + ".")
			}
		}
		m.WriteString(".El\n")
	}
}

func (m *manual) environment(cmd *cobra.Command) {
	var rows [][2]string
	for _, v := range environment {
		if v.read(cmd) {
			rows = append(rows, [2]string{v.name, v.about})
		}
	}
	if len(rows) > 0 {
		m.section("ENVIRONMENT")
		m.list(rows)
	}
}

func (m *manual) files(cmd *cobra.Command) {
	if cmd.Flags().Lookup("config") == nil {
		return
	}
	m.section("FILES")
	m.list([][2]string{{"./" + defaultConfig, "The configuration, unless another file is named."}})
}

// seeAlso names the other pages, in the order that mdoc asks for.
func (m *manual) seeAlso(cmd *cobra.Command) {
	var pages []string
	if cmd.HasParent() {
		pages = append(pages, manName(cmd.Parent()))
	}
	for _, c := range append(cmd.Commands(), siblings(cmd)...) {
		if c.IsAvailableCommand() {
			pages = append(pages, manName(c))
		}
	}
	slices.Sort(pages)
	m.section("SEE ALSO")
	for i, page := range pages {
		end := ""
		if i < len(pages)-1 {
			end = " ,"
		}
		fmt.Fprintf(m, ".Xr %s 1%s\n", page, end)
	}
}

// siblings are the other commands of the same group.
func siblings(cmd *cobra.Command) (all []*cobra.Command) {
	if !cmd.HasParent() {
		return nil
	}
	for _, c := range cmd.Parent().Commands() {
		if c != cmd && c.GroupID == cmd.GroupID {
			all = append(all, c)
		}
	}
	return all
}
