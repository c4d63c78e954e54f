// What is said on the WebSocket of lanspread's local API, docs/api.md.
// Generated from the schema by `make generate`: do not edit.

export type ApiVersion = 1;

/** One game of the merged library: local only, remote only, or both. */
export interface Game {
  id: string;
  name: string;
  description?: string;
  year?: number;
  genre?: string;
  players?: string;
  eti_version: string;
  local_version: string | null;
  installed_version: string | null;
  size: number;
  downloaded: boolean;
  installed: boolean;
  availability: Availability | null;
  update_available: boolean;
  manifest_hash: string | null;
  content_hash: string | null;
  peers: string[];
  operation: Operation | null;
  cover_url: string | null;
}

/** Whether a game here can be fetched from here. */
export type Availability = "downloading" | "local_only" | "ready";

export interface Operation {
  operation_id: string;
  kind: OperationKind;
  state: OperationState;
  done_bytes: number;
  total_bytes: number;
}

export type OperationKind = "download" | "install" | "remove" | "uninstall" | "update";

export type OperationState = "paused" | "running" | "waiting";

export interface Peer {
  peer_id: string;
  name: string;
  addresses: string[];
  state: PeerState;
  features: Record<string, unknown>;
  library_rev: number | null;
  game_count: number;
  last_seen: string | null;
  proto_ver: number | null;
}

export type PeerState = "connected" | "connecting" | "discovered" | "incompatible" | "lost" | "refused";

/** `loop_lag` is null until it was measured. */
export interface Status {
  peer_id: string;
  name: string;
  instance: string;
  version: string;
  games_dir: string;
  listen: string[];
  peers: number;
  games: number;
  operations: Operation[];
  up_rate: number;
  down_rate: number;
  uptime_s: number;
  loop_lag: LoopLag | null;
}

/** How late the event loop came to what was due, over the last minute, in seconds. */
export interface LoopLag {
  p50_s: number;
  p99_s: number;
  max_s: number;
}

/** Rates are MB/s; null is no limit. `polite_up` and `polite_down` hold while `polite` is on. */
export interface Settings {
  name: string;
  games_dir: string;
  max_up: number | null;
  max_down: number | null;
  auto_install: boolean;
  polite: boolean;
  polite_up: number;
  polite_down: number;
}

/** Offers of one game with the same version and the same content; `here`: so is what is here. */
export interface Variant {
  version: string;
  manifest_hash: string;
  content_hash: string | null;
  size: number;
  peers: string[];
  here?: boolean;
}

/** A file of a game: its path below the game's folder, parts joined by `/`, and its size. */
export interface File {
  path: string;
  size: number;
}

export type GetStatus = Record<string, never>;

/** All games, or of those with these `ids` the ones that there are. */
export interface ListGames {
  ids?: string[] | null;
}

export interface GetGame {
  id: string;
}

/** `variant` is a content_hash or manifest_hash in hex; `files` a selection of paths. */
export interface DownloadGame {
  id: string;
  files?: string[] | null;
  variant?: string | null;
}

/** Pause a download. It stays paused, across restarts too, until it is resumed. */
export interface PauseGame {
  id: string;
}

/** Go on with a download that was paused. */
export interface ResumeGame {
  id: string;
}

export interface CancelGame {
  id: string;
}

/** Unpack a downloaded game into its `local/`; done at once if it is there. */
export interface InstallGame {
  id: string;
}

/** Fetch the newest version if it is missing, then update `local/` if it is there. */
export interface UpdateGame {
  id: string;
}

/** Remove `local/` whole, saves included. */
export interface UninstallGame {
  id: string;
}

/** Remove the downloaded files, never `local/`. `force`: also while others fetch them, and where no download of ours explains them. */
export interface RemoveGame {
  id: string;
  force?: boolean;
}

export type ListPeers = Record<string, never>;

/** `address` is HOST:PORT. */
export interface ConnectPeer {
  address: string;
}

export type GetSettings = Record<string, never>;

/** What is not given stays as it is. Rates are MB/s, at least 0.001; 0 is no limit. */
export interface SetSettings {
  name?: string | null;
  max_up?: number | null;
  max_down?: number | null;
  auto_install?: boolean | null;
  polite?: boolean | null;
}

/** `path` is absolute. Refused with `busy` while an operation is active. */
export interface SetGamesDir {
  path: string;
}

export type Shutdown = Record<string, never>;

/** Where a front-end stopped: the last event it saw. */
export interface Since {
  instance: string;
  seq: number;
}

/** From now on, or from after `since`, events are sent. */
export interface Subscribe {
  since?: Since | null;
}

/** The answer of a command that starts, or ends, work: the operation that it is about. */
export interface OperationStarted {
  operation_id: string;
}

/** The answer of a command that is done when it answers. */
export type Done = Record<string, unknown>;

export interface DownloadBegin {
  operation_id: string;
  id: string;
  version: string;
  total_bytes: number;
  sources: string[];
}

export interface DownloadCancelled {
  operation_id: string;
  id: string;
}

export interface DownloadFailed {
  operation_id: string;
  id: string;
  code: ErrorCode;
  message: string;
  remedy: string;
}

export interface DownloadFinished {
  operation_id: string;
  id: string;
  version: string;
  bytes_fetched: number;
  seconds: number;
}

/** Why it waits; `needed_bytes` comes with `disk_full`. */
export interface DownloadPaused {
  operation_id: string;
  id: string;
  reason: "user" | "no_sources" | "disk_full";
  needed_bytes?: number;
}

/** `source_rates`: bytes a second by peer_id, of the sources that sent something lately. */
export interface DownloadProgress {
  operation_id: string;
  id: string;
  done_bytes: number;
  total_bytes: number;
  rate: number;
  eta_s: number | null;
  sources: string[];
  source_rates: Record<string, number>;
}

export interface DownloadResumed {
  operation_id: string;
  id: string;
}

/** After `game.get`. `files_omitted`: in a replay, how many `files` were too many to be kept. */
export interface GameFiles {
  id: string;
  files: File[];
  left_out: string[];
  files_omitted?: number;
}

export interface InstallBegin {
  operation_id: string;
  id: string;
  version: string;
  total_bytes: number;
}

export interface InstallCancelled {
  operation_id: string;
  id: string;
}

export interface InstallFailed {
  operation_id: string;
  id: string;
  code: ErrorCode;
  message: string;
  remedy: string;
}

export interface InstallFinished {
  operation_id: string;
  id: string;
  version: string;
  seconds: number;
}

export interface InstallProgress {
  operation_id: string;
  id: string;
  done_bytes: number;
  total_bytes: number;
  rate: number;
  eta_s: number | null;
}

/** `games` of `peer_id` (oneself included) changed; `rev` is that peer's revision. */
export interface LibraryUpdated {
  peer_id: string;
  games: string[];
  rev: number;
}

export type PeerConnected = Peer;

export type PeerDiscovered = Peer;

export type PeerLost = Peer & { reason: string };

export type PeerUpdated = Peer;

/** It could not be put right: nothing was touched, and the game is not offered. */
export interface RecoveryBlocked {
  id: string;
  why: string;
}

/** What an interrupted operation left in a game's folder was put right; `what` is a sentence. */
export interface RecoveryRepaired {
  id: string;
  what: string;
}

export interface RemoveBegin {
  operation_id: string;
  id: string;
  version: string;
  total_bytes: number;
}

export interface RemoveCancelled {
  operation_id: string;
  id: string;
}

export interface RemoveFailed {
  operation_id: string;
  id: string;
  code: ErrorCode;
  message: string;
  remedy: string;
}

/** `kept`: files of the download that somebody changed, so that they are not ours to remove: the first of them. `kept_omitted`: how many more there are. */
export interface RemoveFinished {
  operation_id: string;
  id: string;
  version: string;
  seconds: number;
  kept: string[];
  kept_omitted?: number;
}

export interface RemoveProgress {
  operation_id: string;
  id: string;
  done_bytes: number;
  total_bytes: number;
  rate: number;
  eta_s: number | null;
}

export interface SourceDropped {
  operation_id: string;
  id: string;
  peer_id: string;
  reason: string;
}

export interface UninstallBegin {
  operation_id: string;
  id: string;
  version: string;
  total_bytes: number;
}

export interface UninstallCancelled {
  operation_id: string;
  id: string;
}

export interface UninstallFailed {
  operation_id: string;
  id: string;
  code: ErrorCode;
  message: string;
  remedy: string;
}

export interface UninstallFinished {
  operation_id: string;
  id: string;
  version: string;
  seconds: number;
}

export interface UninstallProgress {
  operation_id: string;
  id: string;
  done_bytes: number;
  total_bytes: number;
  rate: number;
  eta_s: number | null;
}

export interface UpdateBegin {
  operation_id: string;
  id: string;
  version: string;
  total_bytes: number;
}

export interface UpdateCancelled {
  operation_id: string;
  id: string;
}

export interface UpdateFailed {
  operation_id: string;
  id: string;
  code: ErrorCode;
  message: string;
  remedy: string;
}

/** `kept`: the user's files in `local/` that were carried over, as they are called now: the first of them. `kept_omitted`: how many more there are. */
export interface UpdateFinished {
  operation_id: string;
  id: string;
  version: string;
  seconds: number;
  kept: string[];
  kept_omitted?: number;
}

export interface UpdateProgress {
  operation_id: string;
  id: string;
  done_bytes: number;
  total_bytes: number;
  rate: number;
  eta_s: number | null;
}

export interface Warning {
  code: string;
  message: string;
  remedy: string;
}

export type GameDetail = Game & { files: File[]; variants: Variant[] };

export type ErrorCode = "not_found" | "folder_not_empty" | "not_available" | "busy" | "in_use" | "no_space" | "no_sources" | "unsafe_path" | "manifest_too_large" | "nothing_to_install" | "archive_encrypted" | "archive_damaged" | "archive_unsupported" | "read_only" | "io_error" | "incompatible" | "refused" | "cancelled" | "resync_required" | "internal";

export type Event =
  | { seq: number; time: string; type: "download.begin"; data: DownloadBegin }
  | { seq: number; time: string; type: "download.cancelled"; data: DownloadCancelled }
  | { seq: number; time: string; type: "download.failed"; data: DownloadFailed }
  | { seq: number; time: string; type: "download.finished"; data: DownloadFinished }
  | { seq: number; time: string; type: "download.paused"; data: DownloadPaused }
  | { seq: null; time: string; type: "download.progress"; data: DownloadProgress }
  | { seq: number; time: string; type: "download.resumed"; data: DownloadResumed }
  | { seq: number; time: string; type: "game.files"; data: GameFiles }
  | { seq: number; time: string; type: "install.begin"; data: InstallBegin }
  | { seq: number; time: string; type: "install.cancelled"; data: InstallCancelled }
  | { seq: number; time: string; type: "install.failed"; data: InstallFailed }
  | { seq: number; time: string; type: "install.finished"; data: InstallFinished }
  | { seq: null; time: string; type: "install.progress"; data: InstallProgress }
  | { seq: number; time: string; type: "library.updated"; data: LibraryUpdated }
  | { seq: number; time: string; type: "peer.connected"; data: PeerConnected }
  | { seq: number; time: string; type: "peer.discovered"; data: PeerDiscovered }
  | { seq: number; time: string; type: "peer.lost"; data: PeerLost }
  | { seq: number; time: string; type: "peer.updated"; data: PeerUpdated }
  | { seq: number; time: string; type: "recovery.blocked"; data: RecoveryBlocked }
  | { seq: number; time: string; type: "recovery.repaired"; data: RecoveryRepaired }
  | { seq: number; time: string; type: "remove.begin"; data: RemoveBegin }
  | { seq: number; time: string; type: "remove.cancelled"; data: RemoveCancelled }
  | { seq: number; time: string; type: "remove.failed"; data: RemoveFailed }
  | { seq: number; time: string; type: "remove.finished"; data: RemoveFinished }
  | { seq: null; time: string; type: "remove.progress"; data: RemoveProgress }
  | { seq: number; time: string; type: "source.dropped"; data: SourceDropped }
  | { seq: number; time: string; type: "uninstall.begin"; data: UninstallBegin }
  | { seq: number; time: string; type: "uninstall.cancelled"; data: UninstallCancelled }
  | { seq: number; time: string; type: "uninstall.failed"; data: UninstallFailed }
  | { seq: number; time: string; type: "uninstall.finished"; data: UninstallFinished }
  | { seq: null; time: string; type: "uninstall.progress"; data: UninstallProgress }
  | { seq: number; time: string; type: "update.begin"; data: UpdateBegin }
  | { seq: number; time: string; type: "update.cancelled"; data: UpdateCancelled }
  | { seq: number; time: string; type: "update.failed"; data: UpdateFailed }
  | { seq: number; time: string; type: "update.finished"; data: UpdateFinished }
  | { seq: null; time: string; type: "update.progress"; data: UpdateProgress }
  | { seq: number; time: string; type: "warning"; data: Warning };

export interface Subscribed {
  instance: string;
  seq: number;
  snapshot?: { games: Game[]; peers: Peer[]; status: Status };
}

export interface HelloMessage {
  jsonrpc: "2.0";
  method: "hello";
  params: { api_version: number; instance: string; peer_id: string; name: string; version: string; capabilities: string[] };
}

export interface EventMessage {
  jsonrpc: "2.0";
  method: "event";
  params: Event;
}

export interface ResultMessage {
  jsonrpc: "2.0";
  id: string | number | null;
  /** as `x-methods` says */
  result: unknown;
}

export interface ErrorMessage {
  jsonrpc: "2.0";
  id: string | number | null;
  error: { code: -32000; message: string; data: { code: ErrorCode; remedy: string } } | { code: -32700 | -32600 | -32601 | -32602; message: string };
}

/** What can be called. */
export interface Methods {
  "status": { params: GetStatus; result: Status };
  "games.list": { params: ListGames; result: Game[] };
  "game.get": { params: GetGame; result: GameDetail };
  "game.download": { params: DownloadGame; result: OperationStarted };
  "game.pause": { params: PauseGame; result: OperationStarted };
  "game.resume": { params: ResumeGame; result: OperationStarted };
  "game.cancel": { params: CancelGame; result: OperationStarted };
  "game.install": { params: InstallGame; result: OperationStarted };
  "game.update": { params: UpdateGame; result: OperationStarted };
  "game.uninstall": { params: UninstallGame; result: OperationStarted };
  "game.remove": { params: RemoveGame; result: OperationStarted };
  "peers.list": { params: ListPeers; result: Peer[] };
  "peers.connect": { params: ConnectPeer; result: Done };
  "settings.get": { params: GetSettings; result: Settings };
  "settings.set": { params: SetSettings; result: Settings };
  "settings.set_games_dir": { params: SetGamesDir; result: Done };
  "shutdown": { params: Shutdown; result: Done };
  "subscribe": { params: Subscribe; result: Subscribed };
}

/** The data of each type of event. */
export interface Events {
  "download.begin": DownloadBegin;
  "download.cancelled": DownloadCancelled;
  "download.failed": DownloadFailed;
  "download.finished": DownloadFinished;
  "download.paused": DownloadPaused;
  "download.progress": DownloadProgress;
  "download.resumed": DownloadResumed;
  "game.files": GameFiles;
  "install.begin": InstallBegin;
  "install.cancelled": InstallCancelled;
  "install.failed": InstallFailed;
  "install.finished": InstallFinished;
  "install.progress": InstallProgress;
  "library.updated": LibraryUpdated;
  "peer.connected": PeerConnected;
  "peer.discovered": PeerDiscovered;
  "peer.lost": PeerLost;
  "peer.updated": PeerUpdated;
  "recovery.blocked": RecoveryBlocked;
  "recovery.repaired": RecoveryRepaired;
  "remove.begin": RemoveBegin;
  "remove.cancelled": RemoveCancelled;
  "remove.failed": RemoveFailed;
  "remove.finished": RemoveFinished;
  "remove.progress": RemoveProgress;
  "source.dropped": SourceDropped;
  "uninstall.begin": UninstallBegin;
  "uninstall.cancelled": UninstallCancelled;
  "uninstall.failed": UninstallFailed;
  "uninstall.finished": UninstallFinished;
  "uninstall.progress": UninstallProgress;
  "update.begin": UpdateBegin;
  "update.cancelled": UpdateCancelled;
  "update.failed": UpdateFailed;
  "update.finished": UpdateFinished;
  "update.progress": UpdateProgress;
  "warning": Warning;
}

/** One frame from the server. */
export type ServerMessage = HelloMessage | EventMessage | ResultMessage | ErrorMessage;
