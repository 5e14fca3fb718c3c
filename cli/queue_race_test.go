//go:build race

package cli

// side is how many scenarios of the library run at once. They mostly wait; with more, two
// processors keep a lane waiting for as long as TCP waits before it sends again.
const side = 4
