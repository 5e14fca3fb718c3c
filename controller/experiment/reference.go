package experiment

import (
	"fmt"
	"strings"
)

// Reference is the language as Markdown, written from the tables that the parser
// itself uses. LANGUAGE.md is this text; a test compares the two.
func Reference() string {
	var b strings.Builder
	b.WriteString("# The experiment language\n\nAn experiment is one YAML file with these keys.\n\n| key | written | what it is |\n|---|---|---|\n")
	for _, s := range sections {
		name := s.name
		if s.required {
			name += " (required)"
		}
		row(&b, name, "`"+s.form+"`", s.doc)
	}
	b.WriteString("\n## Sources\n\n| source | events |\n|---|---|\n")
	for _, s := range sources {
		row(&b, s.name, s.doc)
	}
	b.WriteString("\n## Calls\n\nA step is one line of text: `[name =] call(arguments) [-> outcome] [as label]`. " +
		"The name is that of the socket it makes. The outcome is what the author accepts: `ok`, a number, the name of an errno " +
		"or `timeout`, joined by `or`; anything else fails the repetition. " +
		"Without an outcome any error ends the lane. Every call takes `timeout=2s`, the lab's own limit.\n\n| call | what it does |\n|---|---|\n")
	for _, c := range calls {
		row(&b, "`"+c.written()+"`", c.doc)
	}
	b.WriteString("\n## Expectations\n\n| written | what must hold |\n|---|---|\n")
	for _, n := range nouns() {
		row(&b, "`"+n.form+"`", n.doc)
	}
	b.WriteString("\nMoments of an order:\n\n")
	for _, m := range momentForms {
		fmt.Fprintf(&b, "* %s\n", m.doc)
	}
	b.WriteString("\n## Packets\n\n" + packetRule + "\n\n## Socket options\n\n")
	var names []string
	for _, o := range options {
		names = append(names, "`"+o.name+"`")
	}
	b.WriteString(strings.Join(names, ", ") + "\n")
	return b.String()
}

const packetRule = "A packet is `[any|third] [A>B] [FLAG+FLAG|packet] [data|no data]`, with the flags SYN, ACK, FIN and RST.\n" +
	"One rule holds wherever a packet is named: PSH, URG, ECE, CWR and AE are not looked at; of the rest exactly\n" +
	"the named flags are set, so `SYN` is not SYN+ACK and `ACK` is no FIN. Only `FIN` and `RST` without ACK leave\n" +
	"open whether ACK is set. `any RST` asks for at least the named flags, `any packet` for none in particular.\n" +
	"`third ACK` is the one that completes the handshake."

// written is the call as an author writes it.
func (c call) written() string {
	text := c.name + "(" + strings.Join(c.params, ", ") + ")"
	switch c.makes {
	case mayMake:
		return "[name =] " + text
	case mustMake:
		return "name = " + text
	}
	return text
}

func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		b.WriteString("| " + strings.ReplaceAll(c, "|", `\|`) + " ")
	}
	b.WriteString("|\n")
}
