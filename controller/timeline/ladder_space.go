package timeline

// spread puts rows into the ladder for the time that passes between those that are
// there, as its scale has it. Time that is folded stays so on ScaleLinear.
func (l *Ladder) spread() {
	spaces := make([]int, len(l.Rows))
	switch l.Scale {
	case ScaleLinear:
		l.Step = l.chooseStep(spaces)
	case ScaleLog:
		l.eachGap(func(from, to int) {
			spaces[to] = max(decades(l.Rows[to].Lab-l.Rows[from].Lab)-(to-from-1), 0)
		})
	}
	at := make([]int, len(l.Rows)+1)
	rows := make([]Row, 0, 2*len(l.Rows))
	before := 0
	for i := range l.Rows {
		n := spaces[i]
		for k := range n {
			from, to := l.Rows[before].Lab, l.Rows[i].Lab
			rows = append(rows, Row{
				Kind: RowSpace, Lane: -1, Lab: from + int64(float64(to-from)*float64(k+1)/float64(n+1)), Moment: -1, Arrow: -1, Bracket: -1,
			})
		}
		at[i] = len(rows)
		rows = append(rows, l.Rows[i])
		before = i
	}
	at[len(l.Rows)] = len(rows)
	l.Rows = rows
	l.renumber(at)
}

// eachGap calls f for each row and the next one below it that is of a later time.
func (l *Ladder) eachGap(f func(from, to int)) {
	before := 0
	for i := range l.Rows {
		switch {
		case l.Rows[i].Kind == RowQuiet:
		case l.Rows[i].Lab > l.Rows[before].Lab:
			f(before, i)
			before = i
		default:
			before = i
		}
	}
}

// decades is how many rows a time is worth on ScaleLog: one for 10 µs, one more for ten
// times that.
func decades(ns int64) int {
	n := 0
	for ns >= 10*int64(Microseconds) {
		ns /= 10
		n++
	}
	return n
}

// chooseStep finds the shortest round time for a row to stand for with which the ladder does not
// become more than twice as long, and how many rows that takes above each row.
func (l *Ladder) chooseStep(spaces []int) int64 {
	budget := max(len(l.Rows), 20)
	whole := int64(0)
	l.eachGap(func(from, to int) {
		if !l.isFolded(from, to) {
			whole += l.Rows[to].Lab - l.Rows[from].Lab
		}
	})
	// With a step that is much shorter than this there would be too many rows for sure.
	least := whole / int64(4*(len(l.Rows)+budget))
	decade := int64(1)
	for decade*10 <= least {
		decade *= 10
	}
	for ; ; decade *= 10 {
		for _, round := range []int64{1, 2, 5} {
			step, total := round*decade, int64(0)
			l.eachGap(func(from, to int) {
				if n := l.spacesFor(from, to, step); n > 0 && total <= int64(budget) {
					total += n
				}
			})
			if total > int64(budget) && decade < 1e17 {
				continue
			}
			l.eachGap(func(from, to int) { spaces[to] = int(l.spacesFor(from, to, step)) })
			return step
		}
	}
}

// spacesFor is how many rows of a step lie between two rows, beyond those that are there.
// A time that is folded has none.
func (l *Ladder) spacesFor(from, to int, step int64) int64 {
	if l.isFolded(from, to) {
		return 0
	}
	return max((l.Rows[to].Lab-l.Rows[from].Lab+step/2)/step-int64(to-from), 0)
}

// isFolded reports whether the time between two rows is folded.
func (l *Ladder) isFolded(from, to int) bool {
	for i := from + 1; i < to; i++ {
		if l.Rows[i].Kind == RowQuiet {
			return true
		}
	}
	return false
}

// renumber moves everything to the new places of its rows.
func (l *Ladder) renumber(at []int) {
	move := func(rows ...*int) {
		for _, row := range rows {
			if *row >= 0 && *row < len(at) {
				*row = at[*row]
			}
		}
	}
	for i := range l.Arrows {
		move(&l.Arrows[i].Departure, &l.Arrows[i].Label, &l.Arrows[i].Arrival)
	}
	for i := range l.Brackets {
		move(&l.Brackets[i].Enter, &l.Brackets[i].Return, &l.Brackets[i].ReleasedAt)
	}
	for i := range l.States {
		move(&l.States[i].Row)
	}
	for i := range l.Drops {
		move(&l.Drops[i].Row)
	}
	for i := range l.Bands {
		move(&l.Bands[i].First, &l.Bands[i].Last)
	}
	for i := range l.Spans {
		move(&l.Spans[i].First, &l.Spans[i].Last)
	}
	for i := range l.Notes {
		move(&l.Notes[i].Row)
		for n := range l.Notes[i].Rows {
			move(&l.Notes[i].Rows[n])
		}
	}
}
