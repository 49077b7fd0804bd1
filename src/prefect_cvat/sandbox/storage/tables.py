"""The tables of the database."""

TABLES = """
CREATE TABLE IF NOT EXISTS user (
    id INTEGER PRIMARY KEY AUTOINCREMENT, username TEXT NOT NULL UNIQUE, email TEXT NOT NULL,
    first_name TEXT NOT NULL, last_name TEXT NOT NULL, password TEXT NOT NULL,
    is_superuser INTEGER NOT NULL, date_joined TEXT NOT NULL, last_login TEXT, token TEXT UNIQUE);
CREATE TABLE IF NOT EXISTS session (
    key TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    expires TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS access_token (
    id INTEGER PRIMARY KEY AUTOINCREMENT, user_id INTEGER NOT NULL REFERENCES user ON DELETE CASCADE,
    name TEXT NOT NULL, read_only INTEGER NOT NULL, digest TEXT NOT NULL UNIQUE,
    created_date TEXT NOT NULL, updated_date TEXT NOT NULL, expiry_date TEXT, last_used_date TEXT);
CREATE TABLE IF NOT EXISTS organization (
    id INTEGER PRIMARY KEY AUTOINCREMENT, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL,
    description TEXT NOT NULL, contact TEXT NOT NULL, owner_id INTEGER REFERENCES user,
    created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS membership (
    organization_id INTEGER NOT NULL REFERENCES organization ON DELETE CASCADE,
    user_id INTEGER NOT NULL REFERENCES user ON DELETE CASCADE, role TEXT NOT NULL,
    PRIMARY KEY (organization_id, user_id));
CREATE TABLE IF NOT EXISTS project (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, owner_id INTEGER REFERENCES user,
    assignee_id INTEGER REFERENCES user, assignee_updated_date TEXT,
    organization_id INTEGER REFERENCES organization ON DELETE CASCADE, bug_tracker TEXT NOT NULL,
    created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS task (
    id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, owner_id INTEGER REFERENCES user,
    assignee_id INTEGER REFERENCES user, assignee_updated_date TEXT,
    project_id INTEGER REFERENCES project ON DELETE CASCADE,
    organization_id INTEGER REFERENCES organization ON DELETE CASCADE,
    bug_tracker TEXT NOT NULL, subset TEXT NOT NULL, overlap INTEGER, segment_size INTEGER NOT NULL,
    consensus_replicas INTEGER NOT NULL, created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS data (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    task_id INTEGER NOT NULL UNIQUE REFERENCES task ON DELETE CASCADE,
    size INTEGER NOT NULL, chunk_size INTEGER NOT NULL, image_quality INTEGER NOT NULL,
    start_frame INTEGER NOT NULL, stop_frame INTEGER NOT NULL, frame_filter TEXT NOT NULL,
    mode TEXT NOT NULL, original_chunk_type TEXT NOT NULL, compressed_chunk_type TEXT NOT NULL,
    deleted_frames TEXT NOT NULL, chunks_updated_date TEXT NOT NULL,
    validation_mode TEXT, frames_per_job_count INTEGER);
CREATE TABLE IF NOT EXISTS frame (
    data_id INTEGER NOT NULL REFERENCES data ON DELETE CASCADE, number INTEGER NOT NULL,
    name TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL, file TEXT NOT NULL,
    rotated INTEGER NOT NULL, real_frame INTEGER, PRIMARY KEY (data_id, number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS job (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id INTEGER NOT NULL REFERENCES task ON DELETE CASCADE,
    type TEXT NOT NULL, start_frame INTEGER NOT NULL, stop_frame INTEGER NOT NULL, frames TEXT,
    stage TEXT NOT NULL, state TEXT NOT NULL, assignee_id INTEGER REFERENCES user,
    assignee_updated_date TEXT, parent_job_id INTEGER REFERENCES job ON DELETE CASCADE,
    chunks_updated_date TEXT NOT NULL, created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS job_of_task ON job (task_id);
CREATE TABLE IF NOT EXISTS issue (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    frame INTEGER NOT NULL, position TEXT NOT NULL, owner_id INTEGER REFERENCES user,
    assignee_id INTEGER REFERENCES user, resolved INTEGER NOT NULL,
    created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS issue_of_job ON issue (job_id);
CREATE TABLE IF NOT EXISTS comment (
    id INTEGER PRIMARY KEY AUTOINCREMENT, issue_id INTEGER NOT NULL REFERENCES issue ON DELETE CASCADE,
    owner_id INTEGER REFERENCES user, message TEXT NOT NULL,
    created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS comment_of_issue ON comment (issue_id);
CREATE TABLE IF NOT EXISTS label (
    id INTEGER PRIMARY KEY AUTOINCREMENT, task_id INTEGER REFERENCES task ON DELETE CASCADE,
    project_id INTEGER REFERENCES project ON DELETE CASCADE,
    parent_id INTEGER REFERENCES label ON DELETE CASCADE,
    name TEXT NOT NULL, color TEXT NOT NULL, type TEXT NOT NULL, svg TEXT);
CREATE INDEX IF NOT EXISTS label_of_task ON label (task_id);
CREATE INDEX IF NOT EXISTS label_of_project ON label (project_id);
CREATE TABLE IF NOT EXISTS attribute (
    id INTEGER PRIMARY KEY AUTOINCREMENT, label_id INTEGER NOT NULL REFERENCES label ON DELETE CASCADE,
    name TEXT NOT NULL, mutable INTEGER NOT NULL, input_type TEXT NOT NULL,
    default_value TEXT NOT NULL, choices TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS attribute_of_label ON attribute (label_id);
CREATE TABLE IF NOT EXISTS request (
    id TEXT PRIMARY KEY, task_id INTEGER NOT NULL REFERENCES task ON DELETE CASCADE,
    owner_id INTEGER NOT NULL REFERENCES user, status TEXT NOT NULL, message TEXT NOT NULL,
    created_date TEXT NOT NULL, started_date TEXT, finished_date TEXT);
CREATE TABLE IF NOT EXISTS webhook (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target_url TEXT NOT NULL, description TEXT NOT NULL,
    type TEXT NOT NULL, content_type TEXT NOT NULL, secret TEXT NOT NULL, is_active INTEGER NOT NULL,
    enable_ssl INTEGER NOT NULL, events TEXT NOT NULL, owner_id INTEGER REFERENCES user,
    project_id INTEGER REFERENCES project ON DELETE CASCADE,
    organization_id INTEGER REFERENCES organization ON DELETE CASCADE,
    created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS webhook_delivery (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL REFERENCES webhook ON DELETE CASCADE, event TEXT NOT NULL,
    status_code INTEGER NOT NULL, redelivery INTEGER NOT NULL, attempt INTEGER NOT NULL,
    request_duration INTEGER NOT NULL, changed_fields TEXT NOT NULL, request TEXT NOT NULL,
    response TEXT NOT NULL, created_date TEXT NOT NULL, updated_date TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS delivery_of_webhook ON webhook_delivery (webhook_id);
CREATE TABLE IF NOT EXISTS webhook_queue (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    webhook_id INTEGER NOT NULL REFERENCES webhook ON DELETE CASCADE, request TEXT NOT NULL,
    redelivery INTEGER NOT NULL, attempt INTEGER NOT NULL, due TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS sequence (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tag (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    frame INTEGER NOT NULL, label_id INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS tag_of_job ON tag (job_id, frame);
CREATE TABLE IF NOT EXISTS shape (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    frame INTEGER NOT NULL, label_id INTEGER NOT NULL, poison INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS shape_of_job ON shape (job_id, frame);
CREATE INDEX IF NOT EXISTS poisoned_shape ON shape (job_id) WHERE poison;
CREATE TABLE IF NOT EXISTS track (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES job ON DELETE CASCADE,
    frame INTEGER NOT NULL, label_id INTEGER NOT NULL, body BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS track_of_job ON track (job_id, frame);
"""
