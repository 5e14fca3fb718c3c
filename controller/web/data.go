package web

// Schema names the form of the data in a page. Its number grows when a page of the old
// form could misread the new one.
const Schema = "syncline.page/1"

// The types of this file are what a page is told, as JSON. page/src/data.ts says what each
// field means, for both sides; a test holds the two alike. Times are nanoseconds: see there
// what each counts from.

// Page is all that is known before a repetition is opened, and where the repetitions are.
// Make one with New, and give it its repetitions with Add.
type Page struct {
	Schema  string    `json:"schema"`
	Tool    string    `json:"tool"`
	Title   string    `json:"title"`
	Command string    `json:"command"`
	Opening Opening   `json:"open"`
	Runs    List[Run] `json:"runs"`
	Blocks  int       `json:"blocks"`

	// Picture is an SVG of the repetition to begin with, for browsers that run no script; it
	// may be empty.
	Picture string `json:"-"`

	repetitions, events packer
	blocks              [][]byte
}

// Opening is what to show first.
type Opening struct {
	Run        int    `json:"run"`
	Repetition int    `json:"repetition"`
	Why        string `json:"why"`
}

// Run is one execution of an experiment.
type Run struct {
	ID           string                `json:"id"`
	Experiment   string                `json:"experiment"`
	Source       string                `json:"source"`
	Name         string                `json:"name"`
	Command      string                `json:"command"`
	State        string                `json:"state"`
	Reason       string                `json:"reason"`
	Created      string                `json:"created"`
	Ruling       string                `json:"ruling"`
	Reference    int                   `json:"reference"`
	Hosts        List[Host]            `json:"hosts"`
	Incomplete   List[string]          `json:"incomplete"`
	Warnings     List[string]          `json:"warnings"`
	Expectations List[Expectation]     `json:"expectations"`
	Clock        *Clock                `json:"clock"`
	Repetitions  Table[Overview]       `json:"repetitions"`
	Phases       List[PhaseStatistics] `json:"phases"`
}

// Host is a machine of the lab and the role it plays.
type Host struct {
	Name      string       `json:"name"`
	Agent     string       `json:"agent"`
	Address   string       `json:"address"`
	Address6  string       `json:"address6"`
	Kernel    string       `json:"kernel"`
	TestClock string       `json:"testClock"`
	Reference bool         `json:"reference"`
	SameClock bool         `json:"sameClock"`
	Method    string       `json:"method"`
	Missing   List[string] `json:"missing"`
}

// Expectation counts the rulings on one expectation over the repetitions of a run.
type Expectation struct {
	Text          string `json:"text"`
	Pass          int    `json:"pass"`
	Fail          int    `json:"fail"`
	CannotTell    int    `json:"cannotTell"`
	NotReproduced int    `json:"notReproduced"`
}

// Overview is what is known of a repetition before it is opened.
type Overview struct {
	N           int     `json:"n"`
	Variant     string  `json:"variant"`
	Ruling      string  `json:"ruling"`
	Why         string  `json:"why"`
	Oddness     float64 `json:"oddness"`
	Odd         string  `json:"odd"`
	Signature   string  `json:"signature"`
	Connections int     `json:"connections"`
	Moments     int     `json:"moments"`
	Began       int64   `json:"began"`
	Took        int64   `json:"took"`
	Block       int     `json:"block"`
	Index       int     `json:"index"`
	EventBlock  int     `json:"eventBlock"`
	EventIndex  int     `json:"eventIndex"`
}

// PhaseStatistics are those of a phase over the repetitions of one variant.
type PhaseStatistics struct {
	Name       string            `json:"name"`
	Meaning    string            `json:"meaning"`
	End        int               `json:"end"`
	Variant    string            `json:"variant"`
	N          int               `json:"n"`
	Min        int64             `json:"min"`
	Median     int64             `json:"median"`
	P90        int64             `json:"p90"`
	P99        int64             `json:"p99"`
	Max        int64             `json:"max"`
	Low        int64             `json:"low"`
	High       int64             `json:"high"`
	Confidence float64           `json:"confidence"`
	Err        *int64            `json:"err"`
	Warnings   List[string]      `json:"warnings"`
	Values     Table[PhaseValue] `json:"values"`
}

// PhaseValue is one measured length of a phase.
type PhaseValue struct {
	Repetition int    `json:"repetition"`
	Connection int    `json:"connection"`
	NS         int64  `json:"ns"`
	Err        *int64 `json:"err"`
}

// Clock is how the clocks of the hosts were over the run.
type Clock struct {
	Drift    int64           `json:"drift"`
	Wander   int64           `json:"wander"`
	Hosts    List[HostClock] `json:"hosts"`
	Pairs    List[ClockPair] `json:"pairs"`
	Warnings List[string]    `json:"warnings"`
}

// HostClock is one host's clock.
type HostClock struct {
	RateLow    *int64             `json:"rateLow"`
	RateHigh   *int64             `json:"rateHigh"`
	ErrMedian  *int64             `json:"errMedian"`
	ErrMax     *int64             `json:"errMax"`
	OffsetBase string             `json:"offsetBase"`
	Points     Table[ClockPoint]  `json:"points"`
	Changes    List[ClockChange]  `json:"changes"`
	Samples    Table[ClockSample] `json:"samples"`
}

// ClockPoint is what is known of an offset at one moment of the run.
type ClockPoint struct {
	At           int64  `json:"at"`
	Low          *int64 `json:"low"`
	High         *int64 `json:"high"`
	Estimate     *int64 `json:"estimate"`
	ProbesLow    *int64 `json:"probesLow"`
	ProbesHigh   *int64 `json:"probesHigh"`
	SegmentsLow  *int64 `json:"segmentsLow"`
	SegmentsHigh *int64 `json:"segmentsHigh"`
}

// ClockSample is what one message said of an offset.
type ClockSample struct {
	At     int64 `json:"at"`
	Offset int64 `json:"offset"`
	Upper  bool  `json:"upper"`
	Probe  bool  `json:"probe"`
}

// ClockChange is what a host reported of its own clocks.
type ClockChange struct {
	At   int64  `json:"at"`
	Text string `json:"text"`
}

// ClockPair is what two hosts told each other directly.
type ClockPair struct {
	A             int    `json:"a"`
	B             int    `json:"b"`
	ProbesThere   int    `json:"probesThere"`
	ProbesBack    int    `json:"probesBack"`
	SegmentsThere int    `json:"segmentsThere"`
	SegmentsBack  int    `json:"segmentsBack"`
	RoundTrip     int64  `json:"roundTrip"`
	Disagreement  string `json:"disagreement"`
}

// Repetition is one pass through the experiment.
type Repetition struct {
	N           int                   `json:"n"`
	Variant     string                `json:"variant"`
	Ruling      string                `json:"ruling"`
	Zero        string                `json:"zero"`
	LocalBase   List[string]          `json:"localBase"`
	Clocks      List[RepetitionClock] `json:"clocks"`
	Summary     List[string]          `json:"summary"`
	Verdicts    List[Verdict]         `json:"verdicts"`
	Warnings    List[string]          `json:"warnings"`
	Moments     Table[Moment]         `json:"moments"`
	Connections List[Connection]      `json:"connections"`
	Phases      Table[Phase]          `json:"phases"`
	Causes      Table[Cause]          `json:"causes"`
	Notes       List[Note]            `json:"notes"`
	Layout      Layout                `json:"layout"`
}

// RepetitionClock is one host's offset in the middle of a repetition.
type RepetitionClock struct {
	Method   string `json:"method"`
	Low      string `json:"low"`
	High     string `json:"high"`
	Messages int    `json:"messages"`
}

// Verdict is the ruling on one expectation.
type Verdict struct {
	Text    string    `json:"text"`
	Ruling  string    `json:"ruling"`
	Reason  string    `json:"reason"`
	Moments List[int] `json:"moments"`
}

// Moment is one edge of one event.
type Moment struct {
	Event      int    `json:"event"`
	Host       int    `json:"host"`
	Kind       string `json:"kind"`
	Edge       string `json:"edge"`
	At         int64  `json:"at"`
	Err        *int64 `json:"err"`
	Local      int64  `json:"local"`
	Reading    int64  `json:"reading"`
	Connection int    `json:"connection"`
	Lane       string `json:"lane"`
	Call       string `json:"call"`
	Flags      string `json:"flags"`
	Text       string `json:"text"`
	Row        int    `json:"row"`
	Arrow      int    `json:"arrow"`
	Bracket    int    `json:"bracket"`
}

// Connection is one TCP connection.
type Connection struct {
	Client End `json:"client"`
	Server End `json:"server"`
}

// End is one end of a connection.
type End struct {
	Host    int         `json:"host"`
	Address string      `json:"address"`
	Lane    string      `json:"lane"`
	Socket  string      `json:"socket"`
	States  List[State] `json:"states"`
	Doubt   string      `json:"doubt"`
}

// State is a TCP state of an end.
type State struct {
	Name   string `json:"name"`
	Known  string `json:"known"`
	Moment int    `json:"moment"`
	After  int    `json:"after"`
	By     int    `json:"by"`
}

// Phase is a named interval between two moments.
type Phase struct {
	Name       string `json:"name"`
	Connection int    `json:"connection"`
	End        int    `json:"end"`
	From       int    `json:"from"`
	To         int    `json:"to"`
	NS         int64  `json:"ns"`
	Err        *int64 `json:"err"`
}

// Cause is why something happened.
type Cause struct {
	Effect  int          `json:"effect"`
	By      int          `json:"by"`
	Rule    string       `json:"rule"`
	Sources List[string] `json:"sources"`
	Known   string       `json:"known"`
	Ordered bool         `json:"ordered"`
	Why     string       `json:"why"`
}

// Note is one plain sentence about a repetition.
type Note struct {
	Kind       string       `json:"kind"`
	Text       string       `json:"text"`
	Sources    List[string] `json:"sources"`
	Moments    List[int]    `json:"moments"`
	Connection int          `json:"connection"`
}
