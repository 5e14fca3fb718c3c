//go:build !linux

package lane

import "context"

// Child reports false: no process is a lane.
func Child() (ran bool) { return false }

// Run returns ErrUnsupported: a lane is made of Linux's system calls.
func Run(context.Context, Config) error { return ErrUnsupported }

// Run ends every lane with ErrUnsupported.
func (g *Group) Run(context.Context) {
	for _, l := range g.Lanes {
		g.Board.End(l.GetName(), ErrUnsupported.Error())
		if g.Ended != nil {
			g.Ended(l.GetName(), ErrUnsupported)
		}
	}
}
