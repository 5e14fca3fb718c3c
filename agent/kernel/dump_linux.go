package kernel

// Dump lists every TCP socket of a run's flows, whatever its state: connections,
// request sockets (as SYN_RECV), those in TIME_WAIT, orphans, and listeners.
func Dump(f Flows) ([]Socket, error) {
	d, err := openDiag()
	if err != nil {
		return nil, err
	}
	defer d.close()
	f = f.plain()
	return d.dump(allStates, f.hold)
}
