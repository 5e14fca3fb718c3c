package clock

// Live is a model that grows: it learns messages one after the other, in any order,
// and answers at any time. It must not be used by several goroutines at once; the
// models that it gives may.
type Live struct {
	cfg      Config
	messages []Message
}

// NewLive begins with no messages. cfg is as for NewModel; cfg.Changes may grow later.
func NewLive(cfg Config) *Live { return &Live{cfg: cfg} }

// Add learns messages. It panics if one names a host that is not there.
func (l *Live) Add(messages ...Message) { l.messages = append(l.messages, messages...) }

// Change learns what a host reported of its clock.
func (l *Live) Change(changes ...Change) {
	l.cfg.Changes = append(l.cfg.Changes[:len(l.cfg.Changes):len(l.cfg.Changes)], changes...)
}

// Model answers by all that was learned so far. It never changes afterwards.
func (l *Live) Model() *Model { return NewModel(l.cfg, l.messages) }
