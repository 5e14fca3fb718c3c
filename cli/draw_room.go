package cli

// callRoom is how wide a text at a bracket is in each of its forms, the longest first.
// Forms beyond the last are cut.
type callRoom struct {
	widths [maxForms]int
	forms  int
	last   string
}

// maxForms is how many forms a text at a bracket has at most.
const maxForms = 16

// width is that of the first form that is not beyond most, or of what is left of the last.
func (r *callRoom) width(o drawOptions, most int) int {
	for _, w := range r.widths[:r.forms] {
		if w <= most {
			return w
		}
	}
	return o.width(o.cut(r.last, most))
}

// roomOf measures the texts at the brackets of a lane, each kind of text once: of thousands
// of calls few differ in how wide they are.
func (p *picture) roomOf(lane int) []callRoom {
	var all []callRoom
	known := make(map[callRoom]bool)
	for i := range p.l.Brackets {
		b := &p.l.Brackets[i]
		if b.Lane != lane || !p.full() && (b.Lab || b.Calls > 1) {
			continue
		}
		wants := [][]string{callLines(p.l, b, p.full())}
		if b.Enter != b.Return {
			wants = [][]string{callNames(p.l, b), returnTexts(b, p.full())}
		}
		for _, texts := range wants {
			r := callRoom{forms: min(len(texts), maxForms), last: texts[len(texts)-1]}
			for n, text := range texts[:r.forms] {
				r.widths[n] = p.o.width(text)
			}
			if !known[r] {
				known[r] = true
				all = append(all, r)
			}
		}
	}
	return all
}
