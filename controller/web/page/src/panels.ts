/** The panels beside the ladder, in the order of their tabs; and the box of the filter above all. */
import type { App, Panel } from './app';
import { ClockPanel } from './clock';
import { CopyPanel, type Picture } from './copy';
import { MeasurePanel } from './measure_panel';
import { NotesPanel } from './notes';
import { ComparePanel } from './overlay';
import { Picker } from './picker';
import { StatisticsPanel } from './stats';
import { EventTable } from './table';
import './panels.css';

export { FilterBox } from './filter_box';

/**
 * Makes the panels of a page, and adds the keys that work whether they are open or not.
 * picture gives the ladder for those that copy it.
 */
export function panels(app: App, picture: Picture): Panel[] {
  const measure = new MeasurePanel();
  measure.bind(app);
  return [
    new NotesPanel(), new EventTable(), new Picker(), new StatisticsPanel(), measure, new ComparePanel(), new ClockPanel(), new CopyPanel(picture),
  ];
}
