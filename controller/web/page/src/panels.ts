/** The panels beside the ladder, in the order of their tabs; and the box of the filter above all. */
import type { Panel } from './app';
import { ClockPanel } from './clock';
import { CopyPanel } from './copy';
import { MeasurePanel } from './measure_panel';
import { NotesPanel } from './notes';
import { ComparePanel } from './overlay';
import { Picker } from './picker';
import { StatisticsPanel } from './stats';
import { EventTable } from './table';
import './panels.css';

export { FilterBox } from './filter_box';

/** Makes the panels of a page. */
export function panels(): Panel[] {
  return [
    new NotesPanel(), new EventTable(), new Picker(), new StatisticsPanel(), new MeasurePanel(), new ComparePanel(), new ClockPanel(), new CopyPanel(),
  ];
}
