package web

// Layout is a timeline.Ladder, without what its repetition says already.
type Layout struct {
	Lanes    List[Lane]       `json:"lanes"`
	Unit     int64            `json:"unit"`
	Decimals int              `json:"decimals"`
	Rows     Table[Row]       `json:"rows"`
	Arrows   Table[Arrow]     `json:"arrows"`
	Brackets Table[Bracket]   `json:"brackets"`
	States   Table[StateMark] `json:"states"`
	Drops    List[Drop]       `json:"drops"`
	Bands    List[Band]       `json:"bands"`
	Spans    Table[StateSpan] `json:"spans"`
	Axes     List[Axis]       `json:"axes"`
}

// Lane is a host's column.
type Lane struct {
	Host      int          `json:"host"`
	Name      string       `json:"name"`
	Agent     string       `json:"agent"`
	Roles     List[string] `json:"roles"`
	Reference bool         `json:"reference"`
	Depth     int          `json:"depth"`
}

// Row is one row of the ladder.
type Row struct {
	Kind      string `json:"kind"`
	Lane      int    `json:"lane"`
	Moment    int    `json:"moment"`
	At        int64  `json:"at"`
	Err       *int64 `json:"err"`
	ShowErr   bool   `json:"showErr"`
	Unordered bool   `json:"unordered"`
	Arrow     int    `json:"arrow"`
	Bracket   int    `json:"bracket"`
	Quiet     int64  `json:"quiet"`
	Text      string `json:"text"`
	Mark      int    `json:"mark"`
}

// Arrow is one packet on its way between two lanes.
type Arrow struct {
	Connection int          `json:"connection"`
	From       int          `json:"from"`
	To         int          `json:"to"`
	Departure  int          `json:"departure"`
	Label      int          `json:"label"`
	Arrival    int          `json:"arrival"`
	Left       int          `json:"left"`
	Came       int          `json:"came"`
	Words      List[string] `json:"words"`
	Delayed    bool         `json:"delayed"`
	Delay      int64        `json:"delay"`
	DelayErr   int64        `json:"delayErr"`
	Lost       bool         `json:"lost"`
	Duplicate  bool         `json:"duplicate"`
	Impossible bool         `json:"impossible"`
	Ambiguous  bool         `json:"ambiguous"`
	Copy       int          `json:"copy"`
	DupACK     int          `json:"dupAck"`
	Reset      bool         `json:"reset"`
	Reason     string       `json:"reason"`
	Told       bool         `json:"told"`
	Taken      bool         `json:"taken"`
	Dropped    bool         `json:"dropped"`
}

// Bracket is a call, or several in one row, from entry to return.
type Bracket struct {
	Lane       int    `json:"lane"`
	Column     int    `json:"column"`
	Enter      int    `json:"enter"`
	Return     int    `json:"return"`
	From       int    `json:"from"`
	To         int    `json:"to"`
	Role       string `json:"role"`
	Call       string `json:"call"`
	Calls      int    `json:"calls"`
	Result     string `json:"result"`
	Remark     string `json:"remark"`
	Took       int64  `json:"took"`
	Waits      bool   `json:"waits"`
	Blocked    bool   `json:"blocked"`
	Released   string `json:"released"`
	ReleasedAt int    `json:"releasedAt"`
	Failed     bool   `json:"failed"`
	Lab        bool   `json:"lab"`
	Tidy       bool   `json:"tidy"`
}

// StateMark says that an end came to a state.
type StateMark struct {
	Row        int    `json:"row"`
	Lane       int    `json:"lane"`
	Connection int    `json:"connection"`
	End        int    `json:"end"`
	Of         string `json:"of"`
	Name       string `json:"name"`
	Known      string `json:"known"`
	Exact      bool   `json:"exact"`
	Hole       bool   `json:"hole"`
	Wide       bool   `json:"wide"`
	After      string `json:"after"`
	By         string `json:"by"`
	Doubt      string `json:"doubt"`
}

// Drop is a packet that a kernel dropped.
type Drop struct {
	Row        int          `json:"row"`
	Lane       int          `json:"lane"`
	Arrow      int          `json:"arrow"`
	Connection int          `json:"connection"`
	Direction  string       `json:"direction"`
	Peer       int          `json:"peer"`
	Words      List[string] `json:"words"`
	Reason     string       `json:"reason"`
	Place      string       `json:"place"`
}

// Band is a time of which a host's record lacks events.
type Band struct {
	Lane   int    `json:"lane"`
	First  int    `json:"first"`
	Last   int    `json:"last"`
	Source string `json:"source"`
	Count  uint64 `json:"count"`
	Where  string `json:"where"`
}

// StateSpan is the time for which an end was in a state.
type StateSpan struct {
	Lane       int    `json:"lane"`
	Connection int    `json:"connection"`
	End        int    `json:"end"`
	Name       string `json:"name"`
	Known      string `json:"known"`
	Doubtful   bool   `json:"doubtful"`
	First      int    `json:"first"`
	Last       int    `json:"last"`
	Open       bool   `json:"open"`
}

// Axis is a timeline.Axis by its knots: data.ts has it as PackedAxis.
type Axis struct {
	Name string `json:"name"`
	// Rows have a knot; empty if all but the quiet ones do.
	Rows List[int] `json:"rows"`
	// Places of the knots; empty if they are the rows themselves.
	Places List[float64] `json:"places"`
	// Folds are the rows after which time is folded.
	Folds List[int] `json:"folds"`
}
