# gnuplot transfer-adamw.gnuplot  writes transfer-adamw.svg and transfer-adamw.png
data = 'transfer-adamw.dat'
do for [format in 'svg png'] {
reset
if (format eq 'svg') { set terminal svg noenhanced size 500,300 font 'sans,10' background 'white' } else { set terminal pngcairo noenhanced size 500,300 font 'sans,8' }
set output 'transfer-adamw'.'.'.format
set multiplot layout 1,2 title 'Learning rate transfer, AdamW' margins screen 0.1400, screen 0.9700, screen 0.2833, screen 0.8333 spacing screen 0.1400, screen 0.2333
unset key
set grid lc rgb '#dddddd'
set tics nomirror
set logscale x
set xlabel 'peak learning rate' offset 0,0.5
set ylabel 'loss - best of the width' offset 1,0
set format y '%g'
set title 'SP'
unset object
plot data index 0 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 1 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 2 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  '+' every ::::0 using (0.004860242939209967):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.003524499021319901):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.002):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73'
set title 'GDN_MUP'
unset object
plot data index 3 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#0072b2' lw 1.5, \
  data index 4 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#d55e00' lw 1.5, \
  data index 5 using 1:2 with linespoints pt 7 ps 0.35 lc rgb '#009e73' lw 1.5, \
  '+' every ::::0 using (0.004860242939209967):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#0072b2', \
  '+' every ::::0 using (0.006248057052878978):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#d55e00', \
  '+' every ::::0 using (0.009995955077308265):(0) with points pt 3 ps 1.2 lw 1.5 lc rgb '#009e73'
unset margins
unset title
unset xlabel
unset ylabel
unset tics
unset border
unset logscale
unset object
set key center center horizontal
set size 1,0.13333333333333333
set origin 0,0
set xrange [0:1]
set yrange [0:1]
plot NaN with lines lw 3 lc rgb '#0072b2' title '64', \
  NaN with lines lw 3 lc rgb '#d55e00' title '128', \
  NaN with lines lw 3 lc rgb '#009e73' title '256'
unset multiplot
unset output
}
