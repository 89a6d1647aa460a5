package android.content;

public abstract class Context {
    public abstract android.content.res.AssetManager getAssets();

    public abstract java.io.File getNoBackupFilesDir();

    public final String getString(int id) {
        return "";
    }

    public final String getString(int id, Object... values) {
        return "";
    }
}
